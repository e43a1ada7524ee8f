"""Streams of events in simulated time: who joins at first, who asks to be forgotten, who comes later or comes back."""

import random
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clients.data.cells import most_frequent
from clients.data.population import Population
from clients.data.shards import Shard
from sim.scenario.arrivals import Days
from sim.scenario.stream import OfflineSpec, StreamSpec
from sim.stream.drawing import JOINS, SOMEBODY, Askers, drawn
from sim.stream.releasing import releases

FORGET: Literal["forget"] = "forget"
JOIN: Literal["join"] = "join"


@dataclass(frozen=True)
class Request:
    """A client asks for something on a simulated day.

    Attributes:
        client: its name; empty: who is chosen at the release, by an adaptive asker.
        kind: to be forgotten, or to join.
        rows: that so many of its training examples be forgotten, drawn when the request is carried out; 0: all of it.
        examples: that these be forgotten, by their keys; none: all of it, or ``rows``.
    """

    client: str
    day: float
    kind: Literal["forget", "join"] = FORGET
    rows: int = 0
    examples: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether it asks for a part of the client's examples."""
        return bool(self.rows or self.examples)

    def keys(self, population: Population, seed: int) -> tuple[str, ...]:
        """The keys of the examples that it asks for, of those that the client has now; none: all."""
        if not self.rows:
            return self.examples
        there = sorted(set(population.examples[self.client].train))
        return tuple(
            sorted(random.Random(f"rows/{seed}/{self.client}/{self.day}").sample(there, min(self.rows, len(there))))
        )


def population(spec: StreamSpec, clients: tuple[str, ...], seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who joins, and who of the others is evaluated all the same; both random, in the order of the clients.

    The first to be drawn is the same however many are: who joins of 10 also joins of 50.
    """
    order = random.Random(f"join/{seed}").sample(sorted(clients), len(clients))
    join = len(clients) - spec.unseen if spec.join is None else spec.join
    joining, unseen = set(order[:join]), set(order[len(order) - spec.unseen :])
    return tuple(c for c in clients if c in joining), tuple(c for c in clients if c in unseen)


def beginning(spec: StreamSpec, clients: tuple[str, ...], seed: int) -> Population:
    """The names of all clients, of those who join at first and of the unseen: all of a population that a stream follows
    from."""
    joining, unseen = population(spec, clients, seed)
    return Population(clients=clients, joining=joining, unseen=unseen)


def draw(spec: StreamSpec, who: Population, seed: int, shards: Iterable[Shard] = ()) -> list[Request]:
    """The stream of a seed: requests of clients who joined at first, newcomers, and clients who come back some time after
    they were forgotten. In order of arrival.

    Args:
        shards: of all clients, where ``spec.order.reads_data``.

    Raises:
        InputError: a trace does not fit, or there are more requests than clients who may ask.
    """
    askers = askers_of(who, shards if spec.order.reads_data else ())
    found = drawn(spec, askers, seed)
    return [
        Request("" if client == SOMEBODY else askers.named(client), day, JOIN if kind == JOINS else FORGET, rows)
        for day, client, kind, rows in zip(*(each.tolist() for each in found.columns), strict=True)
    ]


def askers_of(who: Population, shards: Iterable[Shard] = ()) -> Askers:
    """Who may ask, in the order in which they are numbered."""
    joining = sorted(who.joining)
    others = sorted(set(who.clients) - {*who.joining, *who.unseen})
    places = {client: place for place, client in enumerate(who.clients)}
    mine = {shard.client: shard for shard in shards}
    return Askers(
        len(joining),
        len(others),
        (*joining, *others),
        np.array([places[client] for client in joining], dtype=np.int64),
        np.array([len(mine[client].examples) for client in joining], dtype=np.int64) if mine else None,
        [most_frequent(example.answer for example in mine[client].train) for client in joining] if mine else (),
        [mine[client].group for client in joining] if mine else (),
    )


@dataclass(frozen=True)
class Batch:
    """What is carried out together.

    Attributes:
        day: of the release.
        evaluated: whether what is published is evaluated.
    """

    day: float
    requests: tuple[Request, ...]
    evaluated: bool = False


def batches(spec: StreamSpec, requests: Sequence[Request]) -> list[Batch]:
    """The releases of a stream, in order.

    Raises:
        InputError: a calendar ends before the requests do.
    """
    ends, days = releases(np.array([request.day for request in requests], dtype=np.float64), spec.release, spec.deadline)
    told = _evaluated(spec.evaluate_after, ends.tolist(), days.tolist())
    starts = [0, *ends.tolist()]
    return [
        Batch(day, tuple(requests[start:end]), index in told)
        for index, (start, end, day) in enumerate(zip(starts[:-1], ends.tolist(), days.tolist(), strict=True))
    ]


def _evaluated(after: tuple[int, ...] | Days | str | None, ends: Sequence[int], days: Sequence[float]) -> set[int]:
    """The numbers of the releases after which is evaluated: the first at which so much has happened, or the last."""
    last = len(ends) - 1
    if after is None:
        return {last}
    if isinstance(after, Days):
        return {min(bisect_left(days, day), last) for day in after.days}
    if isinstance(after, str):
        return set(range(len(ends)))
    return {min(bisect_left(ends, count), last) for count in after}


def is_offline(spec: OfflineSpec, client: str, day: float, seed: int) -> bool:
    """Whether a client cannot be reached on a day: by the calendar, or by chance, drawn anew for each client and day."""
    if any(first <= day < last for first, last in spec.calendar.get(client, ())):
        return True
    return bool(spec.probability) and random.Random(f"offline/{seed}/{client}/{day}").random() < spec.probability


def next_day(spec: OfflineSpec, clients: list[str], day: float, seed: int) -> float:
    """The first day after ``day``, in whole steps, on which one of the clients can be reached."""
    while True:
        day += 1
        if not all(is_offline(spec, client, day, seed) for client in clients):
            return day
