"""Refusing updates that are not what was asked for: someone else's, a second one, of a wrong shape, digest or sign."""

from collections.abc import Callable, Collection, Mapping

import numpy as np

from clients.errors import InputError
from clients.exact import digest
from clients.exact.grid import Grid, to_grid
from clients.jobs import Reply
from clients.work.contributions import GRID, SUM, VECTOR, Wanted, summable
from strategies.state.layout import Shape

Signs = Callable[[], np.ndarray | None]
Wants = Mapping[Wanted, Shape | None]


def check(reply: Reply, wants: Wants, known: Collection[str], grid: Grid, signs: Signs) -> None:
    """Check the reply of a tune job; what of it can be checked against digests and signs depends on what was wanted.

    Args:
        known: clients that have sent theirs.
        grid: that vectors are summed on.
        signs: gives the fp32 [d] that every vector has to agree with; None where there is none.

    Raises:
        InputError: says whose update is wrong, and how.
    """
    who = ", ".join(reply.clients)
    twice = [client for client in reply.clients if client in known]
    if twice or len(set(reply.clients)) < len(reply.clients):
        raise InputError(f"client {(twice or reply.clients)[0]}: sent its update twice; the first one counts")
    if set(reply.facts.get("tunings", ())) != set(reply.clients):
        raise InputError(f"an update for {who} speaks of other clients")
    for name, shape in _arrays(reply.clients, wants).items():
        found = reply.arrays.get(name)
        if found is None or (shape is not None and (found.shape, found.dtype) != (shape[0], np.dtype(shape[1]))):
            told = "nothing" if found is None else f"{found.dtype} {found.shape}"
            expected = "something" if shape is None else f"{np.dtype(shape[1])} {shape[0]}"
            raise InputError(f"an update for {who} has {told} as {name}, expected {expected}")
    for wanted in wants:
        if wanted.what == "anchor":
            _check_anchors(reply, wanted)
    if SUM in wants:
        _check_sum(reply, len(known), grid)
    if SUM in wants and len(reply.clients) == 1:
        _check_grid(reply, reply.clients[0], reply.arrays[SUM.key], signs)
    if GRID in wants:
        for client in reply.clients:
            _check_grid(reply, client, reply.arrays[f"{GRID.key}/{client}"], signs)
    if VECTOR in wants:
        total = np.zeros((), dtype=grid.dtype)
        for client in reply.clients:
            values = summable(client, reply.arrays[f"{VECTOR.key}/{client}"], grid)
            _check_grid(reply, client, values, signs)
            total = total + values
        if SUM in wants and not np.array_equal(total, reply.arrays[SUM.key]):
            raise InputError(f"an update for {who}: its sum is not that of its task vectors")


def placed(number: object, count: int) -> bool:
    """Whether this is the number of an anchor of so many."""
    return type(number) is int and 0 <= number < count


def genuine(vector: np.ndarray, grid: Grid, claimed: str) -> bool:
    """Whether a vector is, on the grid, the one whose digest was recorded; what cannot be summed is none."""
    try:
        return digest.of_integers(to_grid(vector, grid)) == claimed
    except InputError:
        return False


def _arrays(clients: tuple[str, ...], wants: Wants) -> dict[str, Shape | None]:
    """The arrays that must be there; of some the server does not know the shape."""
    found: dict[str, Shape | None] = {}
    for wanted, shape in wants.items():
        found |= {SUM.key: shape} if wanted == SUM else {f"{wanted.key}/{client}": shape for client in clients}
    return found


def _check_anchors(reply: Reply, wanted: Wanted) -> None:
    for client in reply.clients:
        number, count = int(reply.arrays[f"{wanted.key}/{client}"][0]), int(wanted.value or 0)
        if not placed(number, count):
            raise InputError(f"client {client}: says {number} of the anchors it is nearest to, expected 0 to {count - 1}")


def _check_sum(reply: Reply, known: int, grid: Grid) -> None:
    """That the sum can be added to that of so many others: later it would be too late, as other parts have been folded."""
    count, total = len(reply.clients), reply.arrays[SUM.key]
    if known + count > grid.most:
        raise InputError(f"an exact sum holds 0 to {grid.most} vectors, not {known + count}")
    if total.size and max(int(total.max()), -int(total.min())) > count * grid.largest:
        raise InputError(f"an update for {', '.join(reply.clients)}: its sum is beyond what {count} vectors can come to")


def _check_grid(reply: Reply, client: str, values: np.ndarray, signs: Signs) -> None:
    if digest.of_integers(values) != reply.facts["tunings"][client]["digest"]:
        raise InputError(f"client {client}: its task vector does not have the digest it claims")
    shared = signs()
    if shared is not None and (values * shared.astype(np.int8) < 0).any():
        raise InputError(f"client {client}: its task vector goes against the shared signs")
