"""What the approximate strategies share: one central model that is edited, not trained again, when somebody leaves.

θ_c is trained once on everybody's pooled data, as in ``central``. At a release it becomes θ_c + edit, made with the data of
those who leave (still there at that moment) and, in some strategies, of those who stay. The model then still follows from
having met the forgotten, and from the order in which they left: never exact, and no audit will find it equal to a rebuild.
What is kept is the model alone. Where nobody is left, nothing is worth keeping, and the base model is served.

An edit must not be made twice. So a new model is written beside the old one, and which file is the model stands in
``chosen.json``, with the members that it knows: killed at any moment, a run goes on with the old model and the old members,
or with the new ones.
"""

import itertools
import json
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
from pydantic import Field

from clients.errors import InputError
from clients.jobs import train_job
from clients.work.pooled import Training
from clients.work.served import BASE, Masked, Served
from strategies.retrain.central import CentralParameters, train_centrally
from strategies.state.kept import Kept
from strategies.strategy import CHOSEN, MERGED, Ask, Deletion, Exactness, Strategy


class EditedParameters(CentralParameters):
    """``steps``, ``batch``: of the central model; ``edit_*``: of the training that edits it, ``edit_rate`` being a factor
    on the scenario's ``tuning.lr``."""

    edit_steps: int = Field(10, ge=1)
    edit_batch: int = Field(8, ge=1)
    edit_rate: float = Field(1.0, gt=0)


E = TypeVar("E", bound=EditedParameters)


class Edited(Strategy[E]):
    """Serves one edited model to everybody.

    Attributes:
        stems: by name of a vector that the model is made of, the stem of its file.
    """

    exactness: ClassVar[Exactness] = "approximate"
    deletion: ClassVar[Deletion] = "edit"

    def __init__(self, parameters: E, seed: int, folder: Path) -> None:
        super().__init__(parameters, seed, folder)
        self.stems: dict[str, str] = {}

    @abstractmethod
    def edit(self, kept: Kept, ask: Ask, leavers: list[str]) -> np.ndarray:
        """What is added to the model, fp32 [d], when these clients leave and at least one stays."""

    def localize(self, kept: Kept, ask: Ask) -> None:
        members = sorted(kept.members)
        known = self.chosen.get("members", [])
        leavers = [client for client in known if client not in kept.members]
        if not members:
            self.stems, self.chosen = {}, {}
        elif not set(members) <= set(known):  # the first release, or somebody is new
            self.stems, self.chosen = {}, {}
            train_centrally(self, kept, ask, self.parameters)
        elif leavers:
            self.apply(self.edit(kept, ask, leavers))
        self.chosen["members"] = members

    def apply(self, edit: np.ndarray) -> None:
        """Change the model by an edit, fp32 [d]."""
        self.keep_merged(self.vector(MERGED) + edit)

    def serve(self, kept: Kept, client: str) -> Served:
        return Masked(MERGED) if kept.members else BASE

    def keep_merged(self, vector: np.ndarray) -> None:
        self.keep_beside(MERGED, vector)

    def keep_beside(self, name: str, vector: np.ndarray) -> None:
        """Store a part of the model in a new file; the old one stays until ``save``."""
        stems = (f"{name}-{number}" for number in itertools.count())
        there = super().vectors()
        stem = next(stem for stem in stems if stem not in there)
        self.keep_vector(stem, vector)
        self.stems = self.stems | {name: stem}

    def vectors(self) -> list[str]:
        return sorted(self.stems)

    def save(self) -> None:
        """Write ``chosen.json``, and delete the vectors that it no longer names."""
        facts = self.chosen | {"files": self.stems}
        self.store.write(CHOSEN, json.dumps(facts, indent=1, sort_keys=True).encode())
        for stem in super().vectors():
            if stem not in self.stems.values():
                self.store.erase(super()._vector_file(stem))

    def load(self) -> None:
        super().load()
        try:
            self.stems = self.chosen.pop("files")
        except KeyError as error:
            raise InputError(f"{self.folder / CHOSEN}: names no files of the model") from error

    def _vector_file(self, name: str) -> str:
        return super()._vector_file(self.stems.get(name, name))


def trained(kept: Kept, ask: Ask, training: Training) -> np.ndarray:
    """What a training adds to the served model, fp32 [d]."""
    ((_, reply),) = ask(kept, [train_job(training, MERGED)])
    return reply.arrays["vector"]
