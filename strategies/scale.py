"""Choosing a scale α, by the current members only, on data of theirs that are not reported.

The candidates race: all are scored on a few members, those that are clearly behind the best fall out, the others are scored
on as many members again, and so on. So the mean that decides is over all members asked, of the candidates that are left.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import Field

from clients.errors import InputError, NotFiniteError
from clients.exact import digest
from clients.jobs import score_job
from clients.work.scoring import Part
from clients.work.served import Served
from strategies.state.kept import Kept
from strategies.strategy import Ask, Strategy

T = TypeVar("T")
Scales = float | Annotated[tuple[float, ...], Field(min_length=1)]
"""A scale, or a grid of them to choose from."""

CLIENTS_PER_JOB = 8
MOST_CLIENTS = 50
"""Members asked at most, so that choosing does not cost more the more clients there are."""
FIRST_ASKED = 8
"""Members that score every candidate."""
CHANCE = 0.005
"""How likely a candidate as good as the best may look as far behind as one that falls out (paired t-test, one side)."""

Candidate = tuple[int, float]
"""Which of several ways to serve, and a scale."""
Scores = Mapping[Candidate, Sequence[float]]
Serving = Callable[[Sequence[str]], list[tuple[str, Served]]]
"""What some clients are served, at scale 1 or any other."""


def choose_scale(strategy: Strategy[Any], kept: Kept, ask: Ask, grid: Sequence[float]) -> float:
    """The α of the grid with the best mean score over what members keep for choosing; the smallest of equals.

    It is chosen again whenever the members change, so that it never remembers a forgotten client. The price is at most one
    evaluation per client asked and grid value, and none where the grid holds one value.
    """
    return race(kept, ask, [lambda clients: [(client, strategy.serve(kept, client)) for client in clients]], grid)[1]


def race(kept: Kept, ask: Ask, ways: Sequence[Serving], grid: Sequence[float]) -> Candidate:
    """The way to serve and the scale with the best mean score over what members keep for choosing; the first way and then
    the smallest scale of equals. Nobody is asked where there is no choice.

    Raises:
        InputError: the grid is empty.
    """
    if not grid:
        raise InputError("alpha: the grid is empty")

    def scored(clients: Sequence[str], running: Sequence[Candidate]) -> Scores:
        found: dict[Candidate, Sequence[float]] = {}
        for way in sorted({way for way, _ in running}):
            scales = [scale for of, scale in running if of == way]
            rows = client_scores(kept, ask, ways[way](clients), scales)
            found |= {(way, scale): [row[index] for row in rows] for index, scale in enumerate(scales)}
        return found

    return winner([(way, scale) for way in range(len(ways)) for scale in sorted(set(grid))], asked_members(kept), scored)


def winner(
    running: Sequence[Candidate], clients: Sequence[T], scored: Callable[[Sequence[T], Sequence[Candidate]], Scores]
) -> Candidate:
    """Who is left, or the best of those who are left when all clients were asked; without clients the first.

    A candidate whose score by some client is not finite falls out.

    Args:
        scored: the scores of candidates by some clients, in the clients' order.

    Raises:
        NotFiniteError: of no candidate all scores are finite.
    """
    scores: dict[Candidate, list[float]] = {candidate: [] for candidate in running}
    asked = 0
    while asked < len(clients) and len(running) > 1:
        some = clients[asked : max(FIRST_ASKED, 2 * asked)]
        for candidate, values in scored(some, running).items():
            scores[candidate].extend(values)
        asked += len(some)
        finite = [candidate for candidate in running if np.isfinite(scores[candidate]).all()]
        if not finite:
            worst = clients[int(np.isfinite(scores[running[0]]).argmin())]
            raise NotFiniteError(f"nothing that there is to choose from gives finite scores; the first does not on {worst}")
        running = not_behind({candidate: scores[candidate] for candidate in finite})
    return running[0]


def not_behind(scores: Scores) -> list[Candidate]:
    """The candidate with the best mean, the lowest of equals, and then those that a paired t-test does not put behind it.

    A difference that is the same for every client, and so has no spread, decides.

    Args:
        scores: of the same clients, at least one, by candidate.
    """
    first, *others = sorted(scores, key=lambda candidate: (-math.fsum(scores[candidate]), candidate))
    best = np.array(scores[first])
    if best.size == 1:
        return [first, *others]
    from scipy.special import stdtrit

    errors = float(stdtrit(best.size - 1, 1 - CHANCE))  # this many standard errors of the mean
    apart = {candidate: best - np.array(scores[candidate]) for candidate in others}
    return [first, *(c for c, d in apart.items() if d.mean() <= errors * d.std(ddof=1) / math.sqrt(d.size))]


def grid_of(scale: float | tuple[float, ...]) -> tuple[float, ...]:
    """A grid as it is, or a fixed scale as a grid of one."""
    return scale if isinstance(scale, tuple) else (scale,)


def asked_members(kept: Kept) -> list[str]:
    """The ``MOST_CLIENTS`` of ``kept.choosers`` whose names have the lowest digests: a sample that follows from who is a
    member, in an order that has nothing to do with their names."""
    return sorted(kept.choosers(), key=digest.of_json)[:MOST_CLIENTS]


def mean_scores(
    kept: Kept, ask: Ask, served: Sequence[tuple[str, Served]], grid: Sequence[float], part: Part = "chosen_on"
) -> list[float]:
    """The mean score of these clients' served models, on a part of their data, at each scale of the grid; 0 of nobody."""
    scores = client_scores(kept, ask, served, grid, part)
    return [math.fsum(row[index] for row in scores) / max(1, len(served)) for index in range(len(grid))]


def client_scores(
    kept: Kept, ask: Ask, served: Sequence[tuple[str, Served]], grid: Sequence[float], part: Part = "chosen_on"
) -> list[list[float]]:
    """The score of each of these clients' served models, in their order, at each scale of the grid.

    It is 0 throughout for a client without such examples, which tells no scale from another.
    """
    parts = chunks(served)
    found = {index: reply.facts["scores"] for index, reply in ask(kept, [score_job(each, grid, part) for each in parts])}
    return [[value or 0.0 for value in row] for index in range(len(parts)) for row in found[index]]


def chunks(items: Sequence[T]) -> list[Sequence[T]]:
    """Clients, or what is served to them, as they are asked together."""
    return [items[start : start + CLIENTS_PER_JOB] for start in range(0, len(items), CLIENTS_PER_JOB)]
