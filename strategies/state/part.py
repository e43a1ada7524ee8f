"""Parts: what a strategy keeps is a list of them, and each knows everything about itself.

A part says what clients compute for it (``wants``, by name in ``clients.work.contributions``) and how large that is; it
folds a client in; it takes a client out (``summed`` parts, by the vector derived again) or erases its files (own parts); it
reads and writes its files; it gives its digest, and the bytes that it takes. ``Kept`` does all this for a list of parts,
whatever they are. A new kind of state is a class here, or anywhere outside, and a function at the client.

A strategy *declares* parts (``Masks(0.5)``); ``Kept`` opens each once, and gives the open one for the declaration:
``kept[Masks(0.5)].read(client)``. Parts are equal if their kind and name are; a name holds all values of the declaration.

    kept-RULE/NAME.safetensors              a summed part
    kept-RULE/clients/NAME/CLIENT.SUFFIX    an own part: one file per client, called by a digest of its name

Files are reached through the store of ``kept`` alone, by their names in it (``strategies.state.store``).
"""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np

from clients.errors import InputError
from clients.exact import digest
from clients.jobs import Reply
from clients.work.contributions import Wanted
from strategies.state.layout import Layout, Shape, safetensors_bytes
from strategies.state.store import Store, called, read_arrays, write_arrays

MEMBERS = "members.json"
"""The file that holds who is a member."""

P = TypeVar("P", bound="Part")


class Holder(Protocol):
    """What a part sees of the state that it belongs to (``Kept``)."""

    store: Store
    layout: Layout
    seed: int
    size: int
    members: dict[str, dict[str, Any]]
    imagined: bool

    def __getitem__(self, part: P) -> P: ...


class Part:
    """One kind of state; see the module. The defaults are those of a part that has neither files nor memory.

    Attributes:
        name: tells it from all other parts; it names its files and stands in digests.
        summed: whether taking a client out needs its vector derived again.
        per_client: whether it is a file per client.
        rereads: whether localizing needs everybody's vector again, so that a deletion costs tuning all who stay.
        kept: what it is a part of, once it is open.
    """

    summed: ClassVar[bool] = False
    rereads: ClassVar[bool] = False
    per_client: ClassVar[bool] = False
    name: str
    kept: Holder

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Part) and self.name == other.name

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.name))

    def opened(self, kept: Holder) -> Self:
        """An empty one of what is declared, as a part of ``kept``."""
        part = copy.copy(self)
        part.kept = kept
        part.start()
        return part

    # -- what it is -----------------------------------------------------------------------------------------------------

    def wants(self) -> Mapping[Wanted, Shape | None]:
        """What clients compute for it, with the shape; None where the server cannot know it."""
        return {}

    def needs(self) -> tuple["Part", ...]:
        """Parts that have to be open beside it. They are opened before it and erased after it."""
        return ()

    def needs_to_join(self) -> tuple["Part", ...]:
        """Parts that have to be there as long as clients join; ``Kept.seal`` lets go of them."""
        return ()

    @property
    def joins_late(self) -> bool:
        """Whether joining, or exchanging examples, after learning has ended takes deriving everybody again: it, or a part
        that it needs, reads something of all others to take a client in (``needs_to_join``)."""
        return bool(self.needs_to_join()) or any(need.joins_late for need in self.needs())

    # -- joining and leaving --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make what it holds in memory, empty."""

    def imagine(self, members: Iterable[str]) -> None:
        """Hold what a dry run needs: as if these clients had joined, whatever they contributed."""

    def fold(self, reply: Reply) -> None:
        """Take in what clients have sent; it has been checked."""
        for client in reply.clients:
            self.add(client, {each: reply.arrays[f"{each.key}/{client}"] for each in self.wants()})

    def add(self, client: str, sent: Mapping[Wanted, np.ndarray]) -> None:
        """Take in what one client has sent."""

    def take_out(self, client: str, grid: np.ndarray) -> None:
        """Subtract what a client added, by the grid values of its vector, derived again; int32 or int64 [d]."""

    def erase(self, client: str) -> None:
        """Delete every file and entry of a client. What was summed is ``take_out``'s matter."""

    def drop(self) -> None:
        """Delete all of it."""

    # -- files ----------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write what is in memory."""

    def load(self) -> None:
        """Read back what ``save`` wrote.

        Raises:
            InputError: a file is missing, damaged or of another model.
        """

    def files(self) -> list[str]:
        """Names of the files that hold it, or will once it is saved."""
        return []

    def files_of(self, client: str) -> list[str]:
        """Names of the files that hold something of one client alone."""
        return []

    def digest(self) -> dict[str, Any]:
        """JSON values that tell its state: a function of who is in it, whatever the history."""
        return {}

    # -- reading --------------------------------------------------------------------------------------------------------

    @property
    def directions(self) -> str | None:
        """The first word of the names of vectors that it can give; None if it gives none."""
        return None

    def direction(self, rest: str) -> np.ndarray:
        """A vector that served models are built from, fp32 [d], by what follows the first word and a slash."""
        raise KeyError(f"{self.name}/{rest}")

    # -- prices ---------------------------------------------------------------------------------------------------------

    def layout(self, size: Layout, members: tuple[str, ...]) -> dict[str, Mapping[str, Shape]]:
        """The safetensors files of so many members: for each, its arrays by name. ``size`` is that of the real model."""
        return {}

    def bytes(self, size: Layout, members: tuple[str, ...]) -> int:
        """Bytes of its files while these are members."""
        return sum(safetensors_bytes(arrays) for arrays in self.layout(size, members).values())

    def memory(self, size: Layout, members: tuple[str, ...]) -> int:
        """Bytes that the server holds of it all the time."""
        return 0


class Whole(Part):
    """A part that is one safetensors file, called as the part is."""

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.name}.safetensors"

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Store its arrays in the place of the old ones."""
        write_arrays(self.kept.store, self.file, arrays)

    def read(self) -> dict[str, np.ndarray]:
        """Its stored arrays; InputError if the file is missing or damaged."""
        return read_arrays(self.kept.store, self.file)

    def drop(self) -> None:
        self.kept.store.erase(self.file)

    def files(self) -> list[str]:
        return [self.file]


class Own(Part):
    """A part that is a file per client.

    Attributes:
        suffix: of the files; safetensors with one array, ``value``, unless a subclass has it otherwise.
    """

    per_client = True
    suffix: ClassVar[str] = ".safetensors"

    def file(self, client: str) -> str:
        """The name of a client's file."""
        return f"clients/{self.name}/{called(client)}{self.suffix}"

    def write(self, client: str, value: np.ndarray) -> None:
        """Store a client's array."""
        write_arrays(self.kept.store, self.file(client), {"value": value})

    def read(self, client: str) -> np.ndarray:
        """A client's array; InputError if its file is missing or damaged. In a dry run, zeros."""
        if self.kept.imagined:
            shape, dtype = self.shape(self.kept.layout)
            return np.zeros(shape, dtype)
        return read_arrays(self.kept.store, self.file(client))["value"]

    def shape(self, size: Layout) -> tuple[tuple[int, ...], type[np.generic]]:
        """Shape and type of a client's array."""
        raise NotImplementedError

    def erase(self, client: str) -> None:
        self.kept.store.erase(self.file(client))

    def drop(self) -> None:
        for name in self.files():
            self.kept.store.erase(name)

    def files(self) -> list[str]:
        return sorted(self.file(client) for client in self.kept.members)

    def files_of(self, client: str) -> list[str]:
        return [self.file(client)]

    def digest(self) -> dict[str, Any]:
        return {self.name: [digest.of_array(self.read(client)) for client in sorted(self.kept.members)]}

    def bytes(self, size: Layout, members: tuple[str, ...]) -> int:
        shape, dtype = self.shape(size)
        return len(members) * safetensors_bytes({"value": (shape, dtype)})


def damaged(path: Path, reason: str) -> InputError:
    """The error of a file that is not what it should be."""
    return InputError(f"{path}: damaged: {reason}")
