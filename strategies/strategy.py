"""What a strategy is: what it keeps, how it localizes and serves, how it forgets, and what that makes exact or not.

Adding one is one file with a subclass and one row in ``registry``. A strategy never touches a model or data itself: it
asks clients to, through ``ask``, which carries out jobs on any transport and counts their cost.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, get_args, get_origin

import numpy as np

from clients.data.manifest import Manifest
from clients.errors import InputError
from clients.exact import digest
from clients.jobs import Job, Reply
from clients.strict import Strict
from clients.work.rules import RuleName
from clients.work.served import Served
from strategies.state.kept import Kept
from strategies.state.part import Part
from strategies.state.store import Folder, Store, called, read_vector, write_vector
from strategies.work import Work

Exactness = Literal["exact", "approximate"]
Deletion = Literal["erase", "subtract", "relearn", "rebuild", "retrain", "edit"]
"""What a deletion takes:

    erase     nothing but deleting what is kept of the client
    subtract  its task vector, derived again
    relearn   the same, and learning masks or clusters again
    rebuild   the task vectors of all who stay, derived again
    retrain   training on the data of those who stay
    edit      changing the model in service, with the leaver's data or without; it still follows from having met the leaver,
              so this is never exact
"""

NEEDS: dict[Deletion, str] = {
    "erase": "nobody",
    "subtract": "the client who leaves",
    "relearn": "the client who leaves, and those who stay",
    "rebuild": "all who stay",
    "retrain": "the data of those who stay",
    "edit": "the client who leaves",
}
"""Who has to be reached for a deletion."""

CHOSEN, FAILED = "chosen.json", "failed"
MASK_SUFFIX, VECTOR_SUFFIX = ".bits", ".safetensors"
MERGED = "merged"
"""Name of the vector that a strategy has merged itself, as a direction of served models."""


class Ask(Protocol):
    """Carries out jobs, whose shared arrays are the strategy's ``direction(kept, name)``; yields (index of the job, reply)
    as replies come.

    A job that fails twice ends the iteration with an error, so every reply that arrives is good.
    """

    def __call__(self, kept: Kept, jobs: Sequence[Job]) -> Iterator[tuple[int, Reply]]: ...


class Parameters(Strict):
    """Base of every strategy's parameters.

    Attributes:
        label: name in tables and files; default the strategy's own. Needed where a run holds a strategy twice.
    """

    label: str | None = None


class RuledParameters(Parameters):
    """``tuning``: the rule of the vectors that are merged: plain, sign_fixed, or ``module:Class``."""

    tuning: RuleName = "plain"


P = TypeVar("P", bound=Parameters)


class Strategy(ABC, Generic[P]):
    """One way to merge, localize, serve and forget.

    Attributes:
        exactness: whether deletion leaves exactly the state of a run without the client.
        deletion: what a deletion takes: nothing but erasing, a subtraction, ...
        linear: whether it takes models in their tangent space, which not every model can be.
        rule: the rule whose vectors it merges, None if it asks for none; by default its parameter ``tuning``, if it has one.
        parts: what is kept for it and charged to it.
        folder: where its own files lie: ``chosen.json``, a ``.bits`` file per mask and a ``.safetensors`` file per vector;
            in ``clients`` those that are of one client alone.
        store: reads and writes these files, by their names in the folder.
        joining: who joins at first: public, and the same whoever has left since. Whoever builds the system sets it.
        chosen: JSON values chosen by ``localize``; where the strategy is exact, a function of the current members only.
        told: JSON values that ``localize`` tells beside them, as a condition number; they are no part of the state.
        reaches: who has to be reached for a deletion, where it is not what ``NEEDS`` says of the kind.
    """

    exactness: ClassVar[Exactness] = "exact"
    deletion: ClassVar[Deletion]
    linear: ClassVar[bool] = False
    reaches: ClassVar[str | None] = None

    def __init__(self, parameters: P, seed: int, folder: Path) -> None:
        self.parameters, self.seed, self.folder = parameters, seed, folder
        self.store: Store = Folder(folder)
        self.joining: tuple[str, ...] = ()
        self.chosen: dict[str, Any] = {}
        self.told: dict[str, Any] = {}

    @property
    def rule(self) -> str | None:
        return self.parameters.tuning if isinstance(self.parameters, RuledParameters) else None

    @property
    def parts(self) -> tuple[Part, ...]:
        return ()

    @abstractmethod
    def serve(self, kept: Kept, client: str) -> Served:
        """How a client's model is built; for a forgotten or unknown client, the model that anybody gets."""

    def check(self, manifest: Manifest) -> None:
        """Whether the data hold what it needs, as labels or public examples; asked before any long work.

        Raises:
            InputError: they do not.
        """

    def check_model(self, tensors: int) -> None:
        """Whether a model that tunes so many tensors will do; asked before any long work.

        Raises:
            InputError: it will not.
        """

    def localize(self, kept: Kept, ask: Ask) -> None:
        """Choose ``chosen``, merge and learn masks anew from the current members; called before every release.

        Clients may have joined, left, come back, and lost some of their examples (``kept.changed``) since the last one. A
        strategy that remembers whom something was made of compares ``kept.digests`` with those that it remembers.

        Raises:
            NotFiniteError: what it has chosen from, or trained, is not. It then ``fail``s, and is asked again at the next
                release.
        """

    @property
    def failed(self) -> bool:
        """Whether it has nothing to serve, since what it localized was not finite."""
        return FAILED in self.chosen

    def fail(self) -> None:
        """Let go of everything that is its own, as it was left in the middle; until it localizes it serves nobody."""
        for name in self.store.sizes():
            self.store.erase(name)
        self.chosen = {FAILED: True}

    def work(self, before: Sequence[str], after: Sequence[str]) -> Work | None:
        """What ``localize`` asks of clients when the members ``before`` have become those ``after``, where there is a
        formula.

        None, the default, lets a dry run of ``localize`` count it.
        """
        return None

    # -- what follows from the parts --------------------------------------------------------------------------------------

    @property
    def derives(self) -> bool:
        """Whether a deletion needs the vector of the one who leaves, derived again."""
        return any(part.summed for part in self.parts)

    @property
    def rereads(self) -> bool:
        """Whether a deletion needs the vectors of all who stay, derived again."""
        return any(part.rereads for part in self.parts)

    def direction(self, kept: Kept, name: str) -> np.ndarray:
        """A vector that served models are built from, fp32 [d]: one that it has made itself, or one of ``kept``."""
        own = name == MERGED or self.store.has(self._vector_file(name))
        return self.vector(name) if own else kept.direction(name)

    def digest(self, kept: Kept) -> str:
        """Digest of everything that served models follow from."""
        own = {name: digest.of_array(self.mask(name)) for name in self.masks()}
        own |= {f"{name}.safetensors": digest.of_array(self.vector(name)) for name in self.vectors()}
        parameters = self.parameters.model_dump(mode="json", exclude={"label"})
        return digest.of_json([type(self).__name__, parameters, kept.digest(self.parts), self.chosen, own])

    def storage(self, kept: Kept) -> int:
        """Bytes of the files it needs: its share of ``kept`` and its own. The base model is not counted."""
        return kept.storage(self.parts) + sum(self.sizes().values())

    # -- its own files ----------------------------------------------------------------------------------------------------

    def sizes(self) -> dict[str, int]:
        """Bytes of the files that hold its masks and vectors, by name in its store."""
        return {name: size for name, size in self.store.sizes().items() if name.endswith((MASK_SUFFIX, VECTOR_SUFFIX))}

    def files_of(self, client: str) -> list[str]:
        """Names in its store of the files that are, or would be, of one client alone."""
        return [_mask_file(mask_of(client))]

    def mask(self, name: str) -> np.ndarray:
        """A learned mask, packed; InputError if its file is missing."""
        return np.frombuffer(self.store.read(_mask_file(name)), dtype=np.uint8)

    def masks(self) -> list[str]:
        """Names of the learned masks."""
        return [name.removesuffix(MASK_SUFFIX) for name in self.store.sizes() if name.endswith(MASK_SUFFIX)]

    def keep_mask(self, name: str, packed: np.ndarray) -> None:
        """Store a learned mask."""
        self.store.write(_mask_file(name), packed.tobytes())

    def erase_masks(self, but: Iterable[str] = ()) -> None:
        """Delete learned masks, except those named."""
        for name in set(self.masks()) - set(but):
            self.store.erase(_mask_file(name))

    def vector(self, name: str) -> np.ndarray:
        """A vector that it has made itself, fp32; InputError if its file is missing or damaged."""
        return read_vector(self.store, self._vector_file(name))

    def vectors(self) -> list[str]:
        """Names of the vectors that it has made itself."""
        return [name.removesuffix(VECTOR_SUFFIX) for name in self.store.sizes() if name.endswith(VECTOR_SUFFIX)]

    def keep_vector(self, name: str, vector: np.ndarray) -> None:
        """Store a vector of its own in the place of the old one of that name."""
        write_vector(self.store, self._vector_file(name), vector)

    def keep_merged(self, vector: np.ndarray) -> None:
        """Store the vector that it has merged, in the old one's place."""
        self.keep_vector(MERGED, vector)

    def erase_vector(self, name: str) -> None:
        """Delete a vector of its own, which holds something of everybody who was in it."""
        self.store.erase(self._vector_file(name))

    def save(self) -> None:
        """Write ``chosen.json``; masks and vectors are on disk already."""
        self.store.write(CHOSEN, json.dumps(self.chosen, indent=1, sort_keys=True).encode())

    def load(self) -> None:
        """Read back what ``save`` wrote; InputError if it is missing or damaged."""
        content = self.store.read(CHOSEN)
        try:
            self.chosen = json.loads(content)
        except ValueError as error:
            raise InputError(f"{self.store.path(CHOSEN)}: cannot be read ({error})") from error

    def _vector_file(self, name: str) -> str:
        return f"{name}{VECTOR_SUFFIX}"


def _mask_file(name: str) -> str:
    return f"{name}{MASK_SUFFIX}"


def mask_of(client: str) -> str:
    """Name of a mask that is of one client alone."""
    return f"clients/{called(client)}"


def parameters_of(strategy: type[Strategy[Any]]) -> type[Parameters]:
    """The class of a strategy's parameters: what it, or the class it is made from, puts in the brackets."""
    for base in (base for cls in strategy.__mro__ for base in getattr(cls, "__orig_bases__", ())):
        for argument in get_args(base):
            if isinstance(argument, type) and issubclass(get_origin(argument) or argument, Parameters):
                return argument
    return Parameters
