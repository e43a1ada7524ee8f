"""Sources: where a node takes shards from, by reference. It may hold a few clients' shards and know of all the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from clients.data.manifest import Manifest
from clients.data.shards import SIDES, Example, Shard
from clients.errors import InputError
from clients.strict import Strict


class ShardRef(Strict):
    """Names a shard without holding it: a client's, or a part of it.

    Attributes:
        without: keys (``Example.key``) of examples that are left out.
        only: keys of the examples that are meant, all others being left out; None for all.
    """

    client: str
    without: frozenset[str] = frozenset()
    only: frozenset[str] | None = None

    def part_of(self, shard: Shard) -> Shard:
        """What is meant of the client's shard."""
        if not self.without and self.only is None:
            return shard
        return Shard(shard.client, *(tuple(e for e in shard.side(side) if self._means(e)) for side in SIDES))

    def _means(self, example: Example) -> bool:
        return example.key not in self.without and (self.only is None or example.key in self.only)


class Source(Protocol):
    """What a node works on."""

    @property
    def manifest(self) -> Manifest:
        """What may be known of all clients, those whose data lie elsewhere too."""
        ...

    def shard(self, ref: ShardRef | str) -> Shard:
        """A client's data; InputError, which names the client, if they are not here."""
        ...


@dataclass(frozen=True)
class Private:
    """A node with private data: the shards of its own clients, and the manifest of everybody's.

    Attributes:
        shards: by client.
    """

    manifest: Manifest
    shards: Mapping[str, Shard]

    def shard(self, ref: ShardRef | str) -> Shard:
        """One of its own clients' data; InputError if it is another's."""
        return found(self.shards, ref)


@dataclass(frozen=True)
class Referred:
    """A source in which some names stand for parts of shards."""

    source: Source
    refs: Mapping[str, ShardRef]

    @property
    def manifest(self) -> Manifest:
        return self.source.manifest

    def shard(self, ref: ShardRef | str) -> Shard:
        """What a name stands for, or the client's data; InputError if they are not here."""
        return self.source.shard(self.refs.get(ref, ref) if isinstance(ref, str) else ref)


def found(shards: Mapping[str, Shard], ref: ShardRef | str) -> Shard:
    """The shard that a reference names, out of those that are here.

    Raises:
        InputError: the client's data are not here.
    """
    named = ShardRef(client=ref) if isinstance(ref, str) else ref
    try:
        return named.part_of(shards[named.client])
    except KeyError:
        raise InputError(f"the data of client {named.client} are not at this node") from None
