"""When requests arrive: sorted days, the same for a seed on every machine.

A Poisson process is drawn as the number of its arrivals and then their places, so that a day is a uniform number times a
span: sums of logarithms would differ in their last bits between machines. All days are rounded to ``DIGITS``.
"""

import hashlib
import math
from typing import Any

import numpy as np

from sim.scenario.arrivals import YEAR, AgentSpec, ArrivalSpec, Rate

DIGITS = 6
"""Of days; the last one is a tenth of a second."""

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]


def generator(seed: int, word: str) -> np.random.Generator:
    """Random numbers of a seed for one purpose."""
    return np.random.Generator(
        np.random.PCG64(int.from_bytes(hashlib.sha256(f"stream/{seed}/{word}".encode()).digest()[:16]))
    )


def times(spec: ArrivalSpec, clients: int, days: float, seed: int) -> Floats:
    """Days of arrival of a Poisson process, or of one with bursts, or of one that decays; float64 [n], sorted.

    Args:
        clients: of whom a rate per million is.
    """
    if spec.name == "decaying":
        return _decaying(spec, days, seed)
    found = [_spread(generator(seed, "arrivals"), spec.rate(clients) * days, 0.0, days)]
    for number, burst in enumerate(spec.bursts):
        inside = max(0.0, min(days - burst.day, burst.days))  # of a burst that lasts longer than the stream a part
        found.append(_spread(generator(seed, f"burst/{number}"), burst.requests * inside / burst.days, burst.day, inside))
    return np.sort(np.concatenate(found))


def uniform(count: int, days: float, seed: int) -> Floats:
    """So many random days, sorted."""
    return _rounded(generator(seed, "arrivals").random(count) * days)


def poisson(rate: Rate, days: float, seed: int, word: str) -> int:
    """How many events of a process of its own there are."""
    return int(generator(seed, word).poisson(rate.per_year * days / YEAR))


def together(days: Floats, agents: AgentSpec, seed: int) -> Floats:
    """Requests that agents bring: so many that follow each other, at the time of the first of them."""
    if not len(days):
        return days
    rng, sizes = generator(seed, "agents"), np.empty(0, dtype=np.int64)
    while sizes.sum() < len(days):
        lots = (1.0 - rng.random(len(days) - int(sizes.sum()))) ** (-1.0 / agents.shape)
        sizes = np.append(sizes, np.minimum(lots, agents.most).astype(np.int64))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return days[starts[np.searchsorted(starts, np.arange(len(days)), side="right") - 1]]


def _spread(rng: np.random.Generator, expected: float, first: float, span: float) -> Floats:
    """The arrivals of a Poisson process between two days, in any order."""
    return _rounded(first + rng.random(int(rng.poisson(expected))) * span)


def _decaying(spec: ArrivalSpec, days: float, seed: int) -> Floats:
    """The rate is ``first`` requests a day, and half of that every ``halving`` days."""
    assert spec.first is not None
    assert spec.halving is not None
    rng, left = generator(seed, "arrivals"), 2.0 ** (-days / spec.halving)
    count = int(rng.poisson(spec.first * spec.halving / math.log(2) * (1.0 - left)))
    return _rounded(-spec.halving * np.log2(1.0 - rng.random(count) * (1.0 - left)))


def _rounded(days: Floats) -> Floats:
    return np.sort(np.round(days, DIGITS))
