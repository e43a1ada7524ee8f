"""What the approximate strategies share: one central model that is edited, not trained again, when somebody leaves.

θ_c is trained once on everybody's pooled data, as in ``central``. At a release it becomes θ_c + edit, made with the data of
those who leave (still there at that moment) and, in some strategies, of those who stay. Where only examples of a member
leave, the edit is made with exactly these, and its other data are among those of who stay. The model then still follows from
having met the forgotten, and from the order in which they left: never exact, and no audit will find it equal to a rebuild.
What is kept is the model alone. Where nobody is left, nothing is worth keeping, and the base model is served. Where somebody
is new, or came back with other data, the central model is trained again.

An edit must not be made twice: ``chosen`` holds the members that the model knows, with the digests of their data, and is
committed together with the model.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import ClassVar, TypeVar

import numpy as np
from pydantic import Field

from clients.jobs import train_job
from clients.work.pooled import Training
from clients.work.served import BASE, Masked, Served
from strategies.retrain.central import CentralParameters, train_centrally
from strategies.state.kept import Kept
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

    @abstractmethod
    def edit(self, kept: Kept, ask: Ask, leavers: list[str]) -> np.ndarray:
        """What is added to the model, fp32 [d], when these leave and at least one client stays.

        Args:
            leavers: clients, and names that stand for examples of members (``kept.changed``).
        """

    def localize(self, kept: Kept, ask: Ask) -> None:
        self.told = {}
        members, known = kept.digests(), self.chosen.get("members", {})
        if not members or any(is_new(kept, client, known) for client in members):
            for name in self.vectors():
                self.erase_vector(name)
            self.chosen = {}
            train_centrally(self, kept, ask, self.parameters)
        elif leavers := left(kept, known):
            self.apply(self.edit(kept, ask, leavers))
        self.chosen["members"] = members

    def apply(self, edit: np.ndarray) -> None:
        """Change the model by an edit, fp32 [d]."""
        self.keep_merged(self.vector(MERGED) + edit)

    def serve(self, kept: Kept, client: str) -> Served:
        return Masked(MERGED) if kept.members else BASE


def is_new(kept: Kept, client: str, known: Mapping[str, str]) -> bool:
    """Whether a member has data that a model of the known ones, by digest, has not met."""
    return client not in known or (client not in kept.changed and known[client] != kept.digests([client])[client])


def left(kept: Kept, known: Collection[str]) -> list[str]:
    """Of clients that a model knows, who has left, and the names that stand for examples that have left."""
    gone = [client for client in sorted(known) if client not in kept.members]
    return gone + [kept.changed[client] for client in sorted(known) if client in kept.changed]


def trained(kept: Kept, ask: Ask, training: Training) -> np.ndarray:
    """What a training adds to the served model, fp32 [d]."""
    ((_, reply),) = ask(kept, [train_job(training, MERGED)])
    return reply.arrays["vector"]
