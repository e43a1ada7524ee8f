"""What the server keeps of the clients under one rule: who is a member, and a list of parts (``strategies.state.part``).

All strategies that share a rule share one ``Kept``, so each client is asked and folded in once however many are compared;
each strategy reads, and is charged for, only the parts that it declares. Parts of a client are files of their own, so the
server's memory does not grow with the number of clients, and forgetting is deleting files:

    members.json         digest, recipe and steps of each client's vector, the seconds that it took, its anchors' numbers
    NAME.safetensors     a part that is a sum, or of all clients together
    clients/NAME/        a part that is a file per client
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from clients.errors import InputError
from clients.exact import digest
from clients.exact.files import write_whole
from clients.jobs import Reply
from clients.work.contributions import SUM, Wanted
from clients.work.rules import rule_of
from strategies.state import checking
from strategies.state.layout import Layout, Shape
from strategies.state.part import Part

SIGNS = "signs"
"""Name of the direction that is the rule's shared sign vector."""
IDENTITY = ("digest", "recipe", "steps")
"""What is recorded of a vector and belongs to the state, as the seconds that it took do not."""

P = TypeVar("P", bound=Part)


class Kept:
    """The server's state under one rule.

    Attributes:
        rule: the rule's name, or None for strategies that ask for no vectors.
        bounds: where each tensor of a vector starts, then the end, which is also ``size``, d.
        seed: of the run.
        members: for each current client the digest, recipe and steps of its vector, and the seconds that it took.
        imagined: whether it holds nothing real, as in a dry run (``imagine``).
    """

    def __init__(self, folder: Path, rule: str | None, bounds: tuple[int, ...], parts: Iterable[Part], seed: int) -> None:
        self.folder, self.rule, self.bounds, self.seed = folder, rule, bounds, seed
        self.size = bounds[-1]
        self.layout = Layout(self.size, len(bounds) - 1, seed)
        self.members: dict[str, dict[str, Any]] = {}
        self.imagined = False
        self.declared = tuple(dict.fromkeys(parts))
        self.parts: dict[Part, Part] = {}
        for part in with_needs(self.declared):
            self.parts[part] = part.opened(self)
        self._directions: dict[str, np.ndarray] = {}

    def __getitem__(self, part: P) -> P:
        """The open part of a declaration."""
        found = self.parts[part]
        assert type(found) is type(part)
        return found

    # -- joining and leaving ------------------------------------------------------------------------------------------

    def wants(self, parts: Iterable[Part] | None = None) -> dict[Wanted, Shape | None]:
        """What clients have to send for some parts, or for all; with its shape where it is known."""
        wanted: dict[Wanted, Shape | None] = {}
        for part in self.parts if parts is None else with_needs(parts):
            wanted |= self[part].wants()
        return dict(sorted(wanted.items(), key=lambda item: item[0].key))

    def absorb(self, reply: Reply) -> None:
        """Fold in the reply of a tune job; all of it or, on InputError, nothing."""
        checking.check(reply, self.wants(), self.members, self.size, self._signs)
        seconds = round(reply.facts.get("seconds", 0.0) / len(reply.clients), 6)
        for client in reply.clients:
            tuned = reply.facts["tunings"][client]
            self.members[client] = {key: tuned[key] for key in IDENTITY} | {"seconds": seconds}
        try:
            for part in self.parts.values():
                part.fold(reply)
        except InputError:
            for client in reply.clients:
                del self.members[client]
            raise
        self._directions.clear()

    def register(self, clients: Iterable[str]) -> None:
        """Take in clients of whom nothing is derived."""
        self.members |= {client: {"digest": "", "recipe": "", "steps": 0, "seconds": 0.0} for client in clients}

    def imagine(self, clients: Iterable[str]) -> None:
        """Hold so many clients of whom nothing is known: for a dry run, which asks what is done and not what comes of it."""
        self.imagined, self.members = True, {}
        self.register(clients)
        for part in self.parts.values():
            part.start()
            part.imagine(self.members)
        self._directions.clear()

    def seal(self) -> None:
        """End of learning: parts that were only needed for joining are deleted."""
        lasting = with_needs(self.declared, joining=False)
        for part in [part for part in self.parts if part not in lasting]:
            self.parts[part].drop()

    def matches(self, client: str, reply: Reply) -> bool:
        """Whether a vector derived again is, bit for bit, the one that was summed."""
        if reply.error or reply.clients != (client,) or SUM.key not in reply.arrays:
            return False
        return digest.of_array(reply.arrays[SUM.key]) == self.members[client]["digest"]

    def subtract(self, client: str, reply: Reply) -> None:
        """Take a client out of what is summed, by its vector, derived again.

        Raises:
            InputError: it is not bit for bit the vector that was summed; nothing has changed then.
        """
        if not self.matches(client, reply):
            raise InputError(f"client {client}: the task vector derived again differs from the one that was summed")
        for part in self.parts.values():
            part.take_out(client, reply.arrays[SUM.key])
        self._directions.clear()

    def erase(self, client: str) -> None:
        """Delete every file and entry of a client. What was summed is ``subtract``'s matter."""
        for part in reversed(self.parts.values()):  # whoever needs a part reads it before it goes
            part.erase(client)
        del self.members[client]
        self._directions.clear()

    def files_of(self, client: str) -> list[Path]:
        """Where there are, or would be, files of one client alone."""
        return [path for part in self.parts.values() for path in part.files_of(client)]

    # -- reading ------------------------------------------------------------------------------------------------------

    def direction(self, name: str) -> np.ndarray:
        """A vector that served models are built from, fp32 [d]: ``signs``, or what a part gives under its name."""
        if name not in self._directions:
            self._directions[name] = self._direct(name)
        return self._directions[name]

    def _direct(self, name: str) -> np.ndarray:
        if name == SIGNS and (signs := self._signs()) is not None:
            return signs
        first, _, rest = name.partition("/")
        for part in self.parts.values():
            if part.directions == first:
                return part.direction(rest)
        raise KeyError(name)

    def _signs(self) -> np.ndarray | None:
        """The rule's shared sign vector, if it has one."""
        if SIGNS not in self._directions:
            made = rule_of(self.rule).signs(self.seed, self.size) if self.rule else None
            if made is None:
                return None
            self._directions[SIGNS] = made
        return self._directions[SIGNS]

    def digest(self, parts: Sequence[Part]) -> str:
        """Digest of members and of these parts; a function of who is in it, whatever the history."""
        told: dict[str, Any] = {
            "members": {c: {key: self.members[c][key] for key in IDENTITY} for c in sorted(self.members)}
        }
        for part in sorted(parts, key=lambda part: part.name):
            for key, value in self[part].digest().items():
                told[key] = [told[key], value] if key in told else value
        return digest.of_json(told)

    def storage(self, parts: Iterable[Part]) -> int:
        """Bytes of the files that hold these parts."""
        return sum(path.stat().st_size for part in parts for path in self[part].files())

    # -- files --------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write what parts hold in memory, and members; members last, since ``load`` believes them."""
        for part in self.parts.values():
            part.save()
        members = json.dumps(self.members, indent=1, sort_keys=True)
        write_whole(self.folder / "members.json", members.encode())

    @classmethod
    def load(cls, folder: Path, rule: str | None, bounds: tuple[int, ...], parts: Iterable[Part], seed: int) -> "Kept":
        """Read back what ``save`` wrote.

        Raises:
            InputError: a file is missing, damaged or of another model.
        """
        kept = cls(folder, rule, bounds, parts, seed)
        try:
            kept.members = json.loads((folder / "members.json").read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{folder / 'members.json'}: cannot be read ({error})") from error
        for part in kept.parts.values():
            part.load()
        return kept


def with_needs(parts: Iterable[Part], joining: bool = True) -> list[Part]:
    """The parts with those that they need, each after the ones that it needs; while clients join these are more."""

    def found(part: Part) -> Iterator[Part]:
        for need in (*part.needs(), *(part.needs_to_join() if joining else ())):
            yield from found(need)
        yield part

    return list(dict.fromkeys(each for part in parts for each in found(part)))
