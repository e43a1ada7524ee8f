"""What the server keeps of the clients under one rule: who is a member, and a list of parts (``strategies.state.part``).

All strategies that share a rule share one ``Kept``, so each client is asked and folded in once however many are compared;
each strategy reads, and is charged for, only the parts that it declares. Parts of a client are files of their own, so the
server's memory does not grow with the number of clients, and forgetting is deleting files:

    members.json         digest, recipe and steps of each client's vector, the seconds that it took, its anchors' numbers
    NAME.safetensors     a part that is a sum, or of all clients together
    clients/NAME/        a part that is a file per client

Clients join at any time (``absorb``, ``register``), leave (``subtract``, ``erase``), come back, and exchange what they
contributed for what fewer examples give (``exchange``, ``reregister``). What is kept then is what it would be if those who
are left had joined, with the examples that are left, and nobody else.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from clients.errors import InputError
from clients.exact import digest
from clients.exact.grid import FINE, Grid
from clients.jobs import Reply
from clients.work.contributions import SUM, Wanted
from clients.work.rules import rule_of
from strategies.state import checking
from strategies.state.layout import Layout, Shape
from strategies.state.part import MEMBERS, Part
from strategies.state.store import Folder, Store

SIGNS = "signs"
"""Name of the direction that is the rule's shared sign vector."""
IDENTITY = ("digest", "recipe", "steps")
"""What is recorded of a vector and belongs to the state, as the seconds that it took do not."""

P = TypeVar("P", bound=Part)


def left_of(client: str) -> str:
    """The name that stands, among clients of a job, for the examples that have left a client's shard; no client has it."""
    return f"{client}\N{NULL}left"


class Kept:
    """The server's state under one rule.

    Attributes:
        rule: the rule's name, or None for strategies that ask for no vectors.
        bounds: where each tensor of a vector starts, then the end, which is also ``size``, d.
        seed: of the run.
        store: where its files are; by default the folder, which is written at once.
        members: for each current client the digest, recipe and steps of its vector, and the seconds that it took. Without a
            rule the digest is that of its shard.
        changed: for clients whose examples were exchanged since strategies last localized, the name that stands for those
            that left (``left_of``); also if they have left altogether since, but not if they came back after that. Whoever
            plays the run lets jobs with that name have those examples, and clears this after localizing.
        imagined: whether it holds nothing real, as in a dry run (``imagine``).
    """

    def __init__(
        self,
        folder: Path,
        rule: str | None,
        bounds: tuple[int, ...],
        parts: Iterable[Part],
        seed: int,
        store: Store | None = None,
        halved: bool = False,
        grid: Grid = FINE,
    ) -> None:
        self.folder, self.rule, self.bounds, self.seed, self.halved = folder, rule, bounds, seed, halved
        self.store: Store = store or Folder(folder)
        self.size = bounds[-1]
        self.layout = Layout(self.size, len(bounds) - 1, seed, grid=grid)
        self.members: dict[str, dict[str, Any]] = {}
        self.changed: dict[str, str] = {}
        self.imagined = False
        self.declared = tuple(dict.fromkeys(parts))
        self.parts: dict[Part, Part] = {}
        for part in with_needs(self.declared):
            self.parts[part] = part.opened(self)
        lasting = with_needs(self.declared, joining=False)
        self._joining = [part for part in self.parts if part not in lasting]
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
        self._check(reply, self.members)
        self._fold(reply)
        for client in reply.clients:  # who comes back is new, whatever it was before
            self.changed.pop(client, None)

    def _check(self, reply: Reply, others: Collection[str]) -> None:
        """Whether a reply can be folded in beside these members; InputError if not."""
        checking.check(reply, self.wants(), others, self.layout.grid, self._signs)
        for part in self._joining:
            gone = next((o for o in others for name in part.files_of(o) if not self.store.has(name)), None)
            if gone is not None:
                raise InputError(
                    f"client {reply.clients[0]}: cannot be taken in alone, as {part.name} of {gone} and others went when "
                    "learning ended; everybody has to be derived again"
                )

    def _fold(self, reply: Reply) -> None:
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

    def register(self, shards: Mapping[str, str]) -> None:
        """Take in clients of whom nothing is derived: for each the digest of its shard."""
        for client, shard in shards.items():
            self.members[client] = {"digest": shard, "recipe": "", "steps": 0, "seconds": 0.0}
            self.changed.pop(client, None)

    def exchange(self, client: str, old: Reply | None, new: Reply | None) -> None:
        """Put what fewer examples of a client give in the place of what it contributed; note it in ``changed``.

        All of it is done, or on InputError nothing.

        Args:
            old: its vector, derived again from all the examples that it joined with; None where nothing that is summed
                needs it.
            new: the reply of a tune job on the examples that are left, with everything wanted; None without a rule, where
                nothing is derived and ``reregister`` does it all.

        Raises:
            InputError: the client is no member, the old vector is not bit for bit the one that was summed, or the new
                reply is not what was asked for.
        """
        self._check_member(client)
        if self.rule is None and new is None:
            return
        if (old is not None or any(part.summed for part in self.parts.values())) and not self.matches(client, old):
            raise InputError(f"client {client}: the task vector derived again differs from the one that was summed")
        if new is None or new.clients != (client,):
            raise InputError(f"client {client}: examples are exchanged by its own update without them, and by no other")
        self._check(new, [other for other in self.members if other != client])
        if old is not None:
            self.subtract(client, old)
        self.erase(client)
        self._fold(new)
        self.changed[client] = left_of(client)

    def reregister(self, client: str, shard: str) -> None:
        """As ``exchange`` where nothing is derived: record the digest of the shard without the examples that left.

        Raises:
            InputError: the client is no member.
        """
        self._check_member(client)
        self.erase(client)
        self.register({client: shard})
        self.changed[client] = left_of(client)

    def _check_member(self, client: str) -> None:
        if client not in self.members:
            raise InputError(f"client {client}: is no member, so none of its examples can leave")

    def imagine(self, clients: Iterable[str]) -> None:
        """Hold so many clients of whom nothing is known: for a dry run, which asks what is done and not what comes of it."""
        self.imagined, self.members, self.changed = True, {}, {}
        self.register(dict.fromkeys(clients, ""))
        for part in self.parts.values():
            part.start()
            part.imagine(self.members)
        self._directions.clear()

    def seal(self) -> None:
        """End of learning: parts that were only needed for joining are deleted."""
        for part in self._joining:
            self.parts[part].drop()

    @property
    def rejoins(self) -> bool:
        """Whether, once sealed, nobody can join or exchange examples alone: a declared part needs something of everybody
        for that (``Part.needs_to_join``), which is gone. All members are then derived again, into a new ``Kept``."""
        return bool(self._joining)

    def matches(self, client: str, reply: Reply | None) -> bool:
        """Whether a vector derived again is, bit for bit, the one that was summed."""
        if reply is None or reply.error or reply.clients != (client,) or SUM.key not in reply.arrays:
            return False
        values = reply.arrays[SUM.key]
        return values.dtype == self.layout.grid.dtype and digest.of_integers(values) == self.members[client]["digest"]

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

    def files_of(self, client: str) -> list[str]:
        """Names of the files that are, or would be, of one client alone."""
        return [name for part in self.parts.values() for name in part.files_of(client)]

    def choosers(self) -> list[str]:
        """Members on whose data settings may be chosen: all, or those of one half where the same data are reported."""
        return [client for client in self.members if not self.halved or chooses(client, self.seed)]

    # -- reading ------------------------------------------------------------------------------------------------------

    def digests(self, clients: Iterable[str] | None = None) -> dict[str, str]:
        """By member, or by some of them, what was recorded of its data: another digest means other data. A strategy that
        remembers who was there remembers these, and sees whose examples have left and who came back with others."""
        return {client: self.members[client]["digest"] for client in sorted(self.members if clients is None else clients)}

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
        sizes = self.store.sizes()
        return sum(sizes.get(name, 0) for part in parts for name in self[part].files())

    # -- files --------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write what parts hold in memory, and members; members last, since ``load`` believes them."""
        for part in self.parts.values():
            part.save()
        members = json.dumps(self.members, indent=1, sort_keys=True)
        self.store.write(MEMBERS, members.encode())

    def load(self) -> Self:
        """Read back what ``save`` wrote, into one that is empty still.

        Raises:
            InputError: a file is missing, damaged or of another model.
        """
        content = self.store.read(MEMBERS)
        try:
            self.members = json.loads(content)
        except ValueError as error:
            raise InputError(f"{self.store.path(MEMBERS)}: cannot be read ({error})") from error
        for part in self.parts.values():
            part.load()
        return self


def chooses(client: str, seed: int) -> bool:
    """Whether a client is of the half on whose data settings are chosen, where the same data are reported."""
    return int(digest.of_json(["half", seed, client])[:8], 16) % 2 == 0


def with_needs(parts: Iterable[Part], joining: bool = True) -> list[Part]:
    """The parts with those that they need, each after the ones that it needs; while clients join these are more."""

    def found(part: Part) -> Iterator[Part]:
        for need in (*part.needs(), *(part.needs_to_join() if joining else ())):
            yield from found(need)
        yield part

    return list(dict.fromkeys(each for part in parts for each in found(part)))
