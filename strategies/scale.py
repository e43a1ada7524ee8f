"""Choosing a scale α on validation data, by the current members only."""

import math
from collections.abc import Sequence

from clients import digest
from clients.errors import InputError
from clients.jobs import score_job
from strategies.kept import Kept
from strategies.strategy import Ask, Strategy

CLIENTS_PER_JOB = 8
MOST_CLIENTS = 50
"""Members asked at most, so that choosing does not cost more the more clients there are."""


def choose_scale(strategy: Strategy, kept: Kept, ask: Ask, grid: Sequence[float]) -> float:  # type: ignore[type-arg]
    """The α of the grid with the best mean score over members' evaluated parts; the smallest of equals.

    It is chosen again whenever the members change, so that it never remembers a forgotten client. Asked are the
    ``MOST_CLIENTS`` members whose names have the lowest digests: a sample that follows from who is a member. The price is
    one evaluation per client asked and grid value, and none where the grid holds one value.
    """
    if not grid:
        raise InputError("alpha: the grid is empty")
    if len(grid) == 1 or not kept.members:
        return grid[0]
    clients = sorted(sorted(kept.members, key=digest.of_json)[:MOST_CLIENTS])
    served = [(client, strategy.serve(kept, client)) for client in clients]
    jobs = [
        score_job(served[start : start + CLIENTS_PER_JOB], scales=grid) for start in range(0, len(served), CLIENTS_PER_JOB)
    ]
    scores = [row for _, reply in ask(kept, jobs) for row in reply.facts["scores"]]
    means = [math.fsum(row[index] for row in scores) for index in range(len(grid))]
    return min(grid, key=lambda alpha: (-means[list(grid).index(alpha)], alpha))
