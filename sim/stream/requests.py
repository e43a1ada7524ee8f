"""Streams of events in simulated time: who joins at first, who asks to be forgotten, who comes later or comes back."""

import random
from dataclasses import dataclass
from typing import Literal

from clients.data.population import Population
from sim.scenario.stream import OfflineSpec, StreamSpec

FORGET: Literal["forget"] = "forget"
JOIN: Literal["join"] = "join"


@dataclass(frozen=True)
class Request:
    """A client asks for something on a simulated day.

    Attributes:
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


def draw(spec: StreamSpec, who: Population, seed: int) -> list[Request]:
    """Requests of clients who joined at first: random ones at random times over ``spec.days``; some for a few examples only.
    And newcomers, and clients who come back some time after they were forgotten. In order of arrival."""
    rng = random.Random(f"stream/{seed}")
    assert spec.requests is not None
    chosen = rng.sample(sorted(who.joining), spec.requests)
    days = sorted(rng.uniform(0, spec.days) for _ in chosen)
    some = set(random.Random(f"stream/{seed}/examples").sample(range(len(chosen)), spec.examples))
    found = [
        Request(client, round(day, 3), rows=spec.rows if index in some else 0)
        for index, (client, day) in enumerate(zip(chosen, days, strict=True))
    ]
    return sorted([*found, *_returns(spec, found, seed), *_joins(spec, who, seed)], key=lambda request: request.day)


def _returns(spec: StreamSpec, requests: list[Request], seed: int) -> list[Request]:
    rng = random.Random(f"stream/{seed}/returns")
    back = rng.sample([request for request in requests if not request.partial], spec.returns)
    return [Request(request.client, round(rng.uniform(request.day, spec.days), 3), JOIN) for request in back]


def _joins(spec: StreamSpec, who: Population, seed: int) -> list[Request]:
    rng = random.Random(f"stream/{seed}/joins")
    others = sorted(set(who.clients) - {*who.joining, *who.unseen})
    return [Request(client, round(rng.uniform(0, spec.days), 3), JOIN) for client in rng.sample(others, spec.joins)]


def releases(requests: list[Request], every: int) -> list[list[Request]]:
    """Requests in the batches in which they are carried out; the last one may be smaller."""
    return [requests[start : start + every] for start in range(0, len(requests), every)]


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
