"""Streams of deletion requests in simulated time."""

import random
from dataclasses import dataclass

from sim.scenario.model import StreamSpec


@dataclass(frozen=True)
class Request:
    """A client asks to be forgotten on a simulated day."""

    client: str
    day: float


def population(spec: StreamSpec, clients: tuple[str, ...], seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who joins, and who of the others is evaluated all the same; both random, in the order of the clients.

    The first to be drawn is the same however many are: who joins of 10 also joins of 50.
    """
    order = random.Random(f"join/{seed}").sample(sorted(clients), len(clients))
    join = len(clients) - spec.unseen if spec.join is None else spec.join
    joining, unseen = set(order[:join]), set(order[len(order) - spec.unseen :])
    return tuple(c for c in clients if c in joining), tuple(c for c in clients if c in unseen)


def draw(spec: StreamSpec, clients: tuple[str, ...], seed: int) -> list[Request]:
    """Uniform requests of clients who have joined: random ones at random times over ``spec.days``, in order of arrival."""
    rng = random.Random(f"stream/{seed}")
    assert spec.requests is not None
    chosen = rng.sample(sorted(clients), spec.requests)
    days = sorted(rng.uniform(0, spec.days) for _ in chosen)
    return [Request(client, round(day, 3)) for client, day in zip(chosen, days, strict=True)]


def releases(requests: list[Request], every: int) -> list[list[Request]]:
    """Requests in the batches in which they are carried out; the last one may be smaller."""
    return [requests[start : start + every] for start in range(0, len(requests), every)]
