"""Which node holds whose data; and a job whose clients' data lie at several nodes, in parts and put together again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clients.errors import InputError, some
from clients.exact.exact_sum import added
from clients.jobs import Job, Reply
from clients.work.contributions import SUM

PARTED = ("tune", "assign", "score", "probe")
"""Kinds of jobs that are the same done client by client."""
ADDED = ("gradient_steps", "client_tunings", "evaluations", "seconds")


class Places:
    """Where clients' data are.

    Attributes:
        holds: by node the clients whose data it holds; None: it can have everybody's.
    """

    def __init__(self, clients: Iterable[str]) -> None:
        self.holds: dict[int, frozenset[str] | None] = {}
        self._number = {client: number for number, client in enumerate(clients)}

    def node(self, clients: Sequence[str], nodes: Iterable[int]) -> int | None:
        """The node, of those there are now, that holds the data of all these clients; None if there is none.

        Where several do, clients are spread over them in their order: client i of n goes to node i · nodes // n.
        """
        able = [node for node in sorted(nodes) if (held := self.holds.get(node)) is None or held.issuperset(clients)]
        if not able:
            return None
        return able[self._number.get(clients[0], 0) * len(able) // max(1, len(self._number))]

    def nowhere(self, nodes: Iterable[int]) -> list[str]:
        """The clients whose data no node holds."""
        there = list(nodes)
        return [client for client in self._number if self.node([client], there) is None]


def owners(job: Job) -> tuple[str, ...]:
    """The clients whose data a job needs, position by position; names that stand for parts of shards are looked up."""
    return tuple(job.refs[name].client if name in job.refs else name for name in job.clients)


@dataclass(frozen=True)
class Piece:
    """Some of a job's clients, by their positions in it, and the job for them alone."""

    positions: tuple[int, ...]
    job: Job


def pieces(job: Job, places: Places, nodes: Sequence[int]) -> list[Piece]:
    """The job as it is where one node can do it, else in parts, one for each node.

    Raises:
        InputError: nobody holds some client's data, or the job needs at one place what lies at several.
    """
    asked = owners(job)
    if not asked or places.node(asked, nodes) is not None:
        return [Piece(tuple(range(len(asked))), job)]
    at: dict[int | None, list[int]] = {}
    for position, client in enumerate(asked):
        at.setdefault(places.node([client], nodes), []).append(position)
    if nowhere := [asked[position] for position in at.get(None, ())]:
        raise InputError(f"no node holds the data of {some(nowhere)}")
    if job.kind not in PARTED:
        raise InputError(f"{job.kind} needs the data of {some(asked)} at one node, and they lie at {len(at)}")
    return [Piece(tuple(positions), _part(job, positions)) for positions in at.values()]


def _part(job: Job, positions: Sequence[int]) -> Job:
    clients = tuple(job.clients[position] for position in positions)
    refs = {name: ref for name, ref in job.refs.items() if name in clients}
    if "items" not in job.facts:
        return replace(job, clients=clients, refs=refs)
    number = {str(position): str(now) for now, position in enumerate(positions)}
    arrays = {
        f"{number[position]}/{rest}": array
        for name, array in job.arrays.items()
        for position, _, rest in [name.partition("/")]
        if position in number
    }
    facts = job.facts | {"items": [job.facts["items"][position] for position in positions]}
    return replace(job, clients=clients, facts=facts, arrays=arrays, refs=refs)


def together(job: Job, parts: Mapping[tuple[int, ...], Reply]) -> Reply:
    """The reply to a job of the replies to its parts, as one node would have given it.

    Args:
        parts: by positions.
    """
    replies = list(parts.values())
    if errors := sorted({reply.error for reply in replies if reply.error}):
        return Reply(job.clients, error="; ".join(errors))
    facts = dict(replies[0].facts)
    for name in facts.keys() & set(ADDED):
        facts[name] = sum(reply.facts[name] for reply in replies)
    facts["parallel_steps"] = max(reply.facts["parallel_steps"] for reply in replies)
    for name in facts.keys() & {"tunings", "anchors"}:
        found = {client: value for reply in replies for client, value in reply.facts[name].items()}
        facts[name] = {client: found[client] for client in job.clients}
    if "scores" in facts:
        scores = {
            at: score
            for positions, reply in parts.items()
            for at, score in zip(positions, reply.facts["scores"], strict=True)
        }
        facts["scores"] = [scores[position] for position in range(len(job.clients))]
    return Reply(job.clients, facts, _arrays(parts))


def _arrays(parts: Mapping[tuple[int, ...], Reply]) -> dict[str, np.ndarray]:
    found = {name: array for reply in parts.values() for name, array in reply.arrays.items() if name != SUM.key}
    sums = [reply.arrays[SUM.key] for reply in parts.values() if SUM.key in reply.arrays]
    return found | ({SUM.key: added(sums)} if sums else {})
