"""Refusing updates that are not what was asked for: someone else's, a second one, of a wrong shape, digest or sign."""

from collections.abc import Callable, Container, Iterable

import numpy as np

from clients.errors import InputError
from clients.exact import digest
from clients.exact.exact_sum import to_grid
from clients.jobs import Reply, Wants

Signs = Callable[[], np.ndarray] | None


def check(reply: Reply, wants: Wants, known: Container[str], size: int, signs: Signs) -> None:
    """Check the reply of a tune job; what of it can be checked against digests and signs depends on what was wanted.

    Args:
        known: clients that have sent theirs.
        size: d.
        signs: gives the fp32 [d] that every vector has to agree with; None under the plain rule.

    Raises:
        InputError: says whose update is wrong, and how.
    """
    who = ", ".join(reply.clients)
    twice = [client for client in reply.clients if client in known]
    if twice or len(set(reply.clients)) < len(reply.clients):
        raise InputError(f"client {(twice or reply.clients)[0]}: sent its update twice; the first one counts")
    if set(reply.facts.get("tunings", ())) != set(reply.clients):
        raise InputError(f"an update for {who} speaks of other clients")
    for client in reply.clients:
        said = reply.facts["tunings"][client].get("anchors", {})
        if not placed(said, wants.anchors):
            right = ", ".join(f"0 to {count - 1} for {count}" for count in wants.anchors) or "nothing"
            raise InputError(f"client {client}: says {said!r} of the anchors it is nearest to, expected {right}")
    for name, shape in _shapes(reply.clients, wants, size).items():
        if name not in reply.arrays or reply.arrays[name].shape != shape:
            found = reply.arrays[name].shape if name in reply.arrays else "nothing"
            raise InputError(f"an update for {who} has {found} as {name}, expected shape {shape}")
    if wants.sum and len(reply.clients) == 1:
        _check_grid(reply, reply.clients[0], reply.arrays["sum"], signs)
    if wants.vector:
        total = np.zeros(size, dtype=np.int64)
        for client in reply.clients:
            grid = to_grid(reply.arrays[f"vector/{client}"])
            _check_grid(reply, client, grid, signs)
            total += grid
        if wants.sum and not np.array_equal(total, reply.arrays["sum"]):
            raise InputError(f"an update for {who}: its sum is not that of its task vectors")


def placed(found: object, counts: Iterable[int]) -> bool:
    """Whether these are the numbers of a client's anchors: for each count, by its name, one below it, and no other."""
    if not isinstance(found, dict) or set(found) != set(map(str, counts)):
        return False
    return all(type(k) is int and 0 <= k < int(count) for count, k in found.items())


def genuine(vector: np.ndarray, claimed: str) -> bool:
    """Whether a vector has the digest that was recorded of it; InputError if it could not be summed."""
    return digest.of_array(to_grid(vector)) == claimed


def _shapes(clients: tuple[str, ...], wants: Wants, size: int) -> dict[str, tuple[int, ...]]:
    """The arrays that must be there; features and sizes have shapes that the server does not know."""
    shapes: dict[str, tuple[int, ...]] = {"sum": (size,)} if wants.sum else {}
    for client in clients:
        shapes |= {f"mask/{keep:g}/{client}": ((size + 7) // 8,) for keep in wants.masks}
        shapes |= {f"vector/{client}": (size,)} if wants.vector else {}
    return shapes


def _check_grid(reply: Reply, client: str, grid: np.ndarray, signs: Signs) -> None:
    if digest.of_array(grid) != reply.facts["tunings"][client]["digest"]:
        raise InputError(f"client {client}: its task vector does not have the digest it claims")
    if signs is not None and (grid * signs().astype(np.int64) < 0).any():
        raise InputError(f"client {client}: its task vector goes against the shared signs")
