"""Streams of deletion requests in simulated time."""

import random
from dataclasses import dataclass

from sim.scenario import StreamSpec


@dataclass(frozen=True)
class Request:
    """A client asks to be forgotten on a simulated day."""

    client: str
    day: float


def draw(spec: StreamSpec, clients: tuple[str, ...], seed: int) -> list[Request]:
    """Uniform requests: clients in random order, at uniformly random times over ``spec.days``, in order of arrival."""
    rng = random.Random(f"stream/{seed}")
    assert spec.requests is not None
    chosen = rng.sample(sorted(clients), spec.requests)
    days = sorted(rng.uniform(0, spec.days) for _ in chosen)
    return [Request(client, round(day, 3)) for client, day in zip(chosen, days, strict=True)]


def releases(requests: list[Request], every: int) -> list[list[Request]]:
    """Requests in the batches in which they are carried out; the last one may be smaller."""
    return [requests[start : start + every] for start in range(0, len(requests), every)]
