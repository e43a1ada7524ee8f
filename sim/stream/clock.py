"""The clock: when work starts and is done on W workers, in the order in which it is asked for.

A release is a few stages, one after another, each of jobs that any worker can do. The next release begins when the one
before is published, since it changes the same state. Played runs and ``simulate`` ask the same functions.

A queue of W workers is a heap of the times at which they get free. SimPy says the same, to the last digit, with an event
loop and a generator per request, and takes 60 to 110 times as long (``tests/benchmarks/bench_simulate.py``).
"""

import heapq
from collections.abc import Iterable, Sequence

import numpy as np

from sim.stream.arrivals import Floats, Ints

DAY = 86400.0
"""Seconds."""

Stages = Iterable[Sequence[float]]
"""The seconds of each job of each stage."""


def queue(ready: Sequence[float], seconds: Sequence[float], workers: int) -> tuple[list[float], list[float]]:
    """When jobs start and are done, first come, first served.

    Args:
        ready: when each can begin, sorted.
        seconds: how long each takes, in the unit of ``ready``.
    """
    free = [0.0] * workers
    starts, ends = [], []
    for moment, length in zip(ready, seconds, strict=True):
        start = max(moment, free[0])
        heapq.heapreplace(free, start + length)
        starts.append(start)
        ends.append(start + length)
    return starts, ends


def makespan(stages: Stages, workers: int) -> float:
    """Seconds that stages take one after another, the jobs of each on so many workers."""
    return sum(max(queue([0.0] * len(jobs), jobs, workers)[1], default=0.0) for jobs in stages)


def in_turn(due: Floats, lengths: Floats, free: float = 0.0) -> tuple[Floats, Floats]:
    """When releases start and are published, one after another: none before its day, nor before the last is published.

    Args:
        due: days, sorted, float64 [r].
        lengths: days that each takes, float64 [r].
        free: when the one before is published.
    """
    total = np.cumsum(lengths)
    before = total - lengths
    starts = np.maximum(np.maximum.accumulate(due - before) if len(due) else due, free) + before
    return starts, starts + lengths


def time_to_forget(days: Floats, deadline: float | None) -> dict[str, float | None]:
    """Quantiles and maximum of days from arrival to publication, and the share past the deadline; None of nobody."""
    if not len(days):
        return dict.fromkeys(("median", "p95", "p99", "max", "late_share"))
    median, p95, p99, most = (round(float(value), 6) for value in np.quantile(days, [0.5, 0.95, 0.99, 1.0]))
    late = None if deadline is None else round(float((days > deadline).mean()), 6)
    return {"median": median, "p95": p95, "p99": p99, "max": most, "late_share": late}


def backlog(arrived: Floats, published: Floats) -> Ints:
    """How many requests wait once each has arrived, of those that arrive on sorted days; int64 [n]."""
    return np.arange(1, len(arrived) + 1) - np.searchsorted(np.sort(published), arrived, side="right")
