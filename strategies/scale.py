"""Choosing a scale α on validation data, by the current members only."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from clients import digest
from clients.errors import InputError
from clients.jobs import Served, score_job
from clients.scoring import Part
from strategies.kept import Kept
from strategies.strategy import Ask, Strategy

T = TypeVar("T")

CLIENTS_PER_JOB = 8
MOST_CLIENTS = 50
"""Members asked at most, so that choosing does not cost more the more clients there are."""


def choose_scale(strategy: Strategy[Any], kept: Kept, ask: Ask, grid: Sequence[float]) -> float:
    """The α of the grid with the best mean score over members' evaluated parts; the smallest of equals.

    It is chosen again whenever the members change, so that it never remembers a forgotten client. The price is one
    evaluation per client asked and grid value, and none where the grid holds one value.
    """
    if not grid:
        raise InputError("alpha: the grid is empty")
    if len(grid) == 1 or not kept.members:
        return grid[0]
    scores = mean_scores(kept, ask, [(client, strategy.serve(kept, client)) for client in asked_members(kept)], grid)
    return min(grid, key=lambda alpha: (-scores[list(grid).index(alpha)], alpha))


def grid_of(scale: float | tuple[float, ...]) -> tuple[float, ...]:
    """A grid as it is, or a fixed scale as a grid of one."""
    return scale if isinstance(scale, tuple) else (scale,)


def asked_members(kept: Kept) -> list[str]:
    """The ``MOST_CLIENTS`` members whose names have the lowest digests: a sample that follows from who is a member."""
    return sorted(sorted(kept.members, key=digest.of_json)[:MOST_CLIENTS])


def mean_scores(
    kept: Kept, ask: Ask, served: Sequence[tuple[str, Served]], grid: Sequence[float], part: Part = "evaluated"
) -> list[float]:
    """The mean score of these clients' served models, on a part of their data, at each scale of the grid."""
    jobs = [score_job(chunk, grid, part) for chunk in chunks(served)]
    scores = [row for _, reply in ask(kept, jobs) for row in reply.facts["scores"]]
    return [math.fsum(row[index] for row in scores) / len(served) for index in range(len(grid))]


def chunks(items: Sequence[T]) -> list[Sequence[T]]:
    """Clients, or what is served to them, as they are asked together."""
    return [items[start : start + CLIENTS_PER_JOB] for start in range(0, len(items), CLIENTS_PER_JOB)]
