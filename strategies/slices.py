"""Shards and slices: who lies where, in which orders a shard's slices are gone through, and how far an order still goes."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from strategies.state.clusters import number

Slices = list[list[str]]
"""The members of every slice of a shard."""


def dealt(members: Iterable[str], shards: int, slices: int, seed: int) -> list[Slices]:
    """The members of every slice of every shard, by hashes of their names, so that nobody's place depends on others."""
    found: list[Slices] = [[[] for _ in range(slices)] for _ in range(shards)]
    for client in sorted(members):
        found[number(client, shards, seed)][number(f"slice of {client}", slices, seed)].append(client)
    return found


def rotations(slices: int, orders: int) -> list[tuple[int, ...]]:
    """So many cyclic rotations of 0 … slices − 1, at most as many as slices, that begin as far from each other as they can;
    the first one is not rotated."""
    starts = [order * slices // orders for order in range(orders)]
    return [tuple((start + place) % slices for place in range(slices)) for start in starts]


def usable(order: Sequence[int], lost: Collection[int]) -> int:
    """How many slices an order goes through before the first of those that are lost."""
    return next((place for place, number in enumerate(order) if number in lost), len(order))


def first_change(before: Sequence[Mapping[str, str] | list[str]], after: Sequence[Mapping[str, str] | list[str]]) -> int:
    """The first slice whose members, or data, are others now, or that is there only before or after; the number of slices if
    none is."""
    changed = (i for i, (old, new) in enumerate(zip(before, after, strict=False)) if old != new)
    return next(changed, min(len(before), len(after)))
