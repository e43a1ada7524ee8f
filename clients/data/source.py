"""Sources: where a node takes shards from, by reference. It may hold a few clients' shards and know of all the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from clients.data.manifest import Manifest
from clients.data.shards import Shard
from clients.errors import InputError
from clients.strict import Strict


class ShardRef(Strict):
    """Names a shard without holding it: a client's. Rows left out of it will follow later."""

    client: str


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


def found(shards: Mapping[str, Shard], ref: ShardRef | str) -> Shard:
    """The shard that a reference names, out of those that are here.

    Raises:
        InputError: the client's data are not here.
    """
    client = ref if isinstance(ref, str) else ref.client
    try:
        return shards[client]
    except KeyError:
        raise InputError(f"the data of client {client} are not at this node") from None
