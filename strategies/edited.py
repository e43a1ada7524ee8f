"""What the approximate strategies share: one central model that is edited, not trained again, when somebody leaves.

θ_c is trained once on everybody's pooled data, as in ``central``. At a release it becomes θ_c + edit, made with the data of
those who leave (still there at that moment) and, in some strategies, of those who stay. The model then still follows from
having met the forgotten, and from the order in which they left: never exact, and no audit will find it equal to a rebuild.
What is kept is the model alone. Where nobody is left, nothing is worth keeping, and the base model is served.
"""

from abc import abstractmethod
from typing import ClassVar, TypeVar

import numpy as np
from pydantic import Field

from clients.jobs import Served, train_job
from clients.pooled import Training
from strategies.central import CentralParameters, train_centrally
from strategies.kept import Keeps, Kept
from strategies.strategy import MERGED, Ask, Deletion, Exactness, Strategy


class EditedParameters(CentralParameters):
    """``steps``, ``batch``: of the central model; ``edit_*``: of the training that edits it, ``edit_rate`` being a factor
    on the scenario's ``tuning.lr``."""

    edit_steps: int = Field(10, ge=1)
    edit_batch: int = Field(8, ge=1)
    edit_rate: float = Field(1.0, gt=0)


E = TypeVar("E", bound=EditedParameters)


class Edited(Strategy[E]):
    """Serves one edited model to everybody."""

    exactness: ClassVar[Exactness] = "approximate"
    deletion: ClassVar[Deletion] = "edit"
    tuning = None
    keeps = Keeps()

    @abstractmethod
    def edit(self, kept: Kept, ask: Ask, left: list[str]) -> np.ndarray:
        """What is added to the model, fp32 [d], when these clients leave and at least one stays."""

    def localize(self, kept: Kept, ask: Ask) -> None:
        members = sorted(kept.members)
        known = self.chosen.get("members", [])
        left = [client for client in known if client not in kept.members]
        if not members:
            self.erase_merged()
        elif not set(members) <= set(known):  # the first release, or somebody is new
            train_centrally(self, kept, ask, self.parameters)
        elif left:
            self.keep_merged(self.merged() + self.edit(kept, ask, left))
        self.chosen["members"] = members

    def serve(self, kept: Kept, client: str) -> Served:
        return Served(MERGED) if kept.members else Served()


def trained(kept: Kept, ask: Ask, training: Training) -> np.ndarray:
    """What a training adds to the served model, fp32 [d]."""
    ((_, reply),) = ask(kept, [train_job(training, MERGED)])
    return reply.arrays["vector"]
