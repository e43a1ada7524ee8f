"""The deletion rate of sharded strategies, by counting alone: requests that a system takes until nothing of it is left.

A request hits one slice of one shard. In every order of that shard the slices from it on are of no more use, as in
``strategies.retrain.s3t``; once no order of any shard has a slice left, the whole system has to be trained again. The
request that brings this about counts, and nothing is trained again before. SISA has one order.

An order is of no use once its first slice was hit, so this is the collector's problem of S·B coupons among S·R: if all
slices are as likely, S·R · (1 + 1/2 + … + 1/(S·B)) requests on average (Basu Roy Chowdhury et al., 2025).
"""

import math
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np

from strategies.slices import rotations, usable

Asker = Literal["uniform", "exponential", "pareto"]
"""How likely each slice is asked for: all alike, or as the quantiles of an exponential or a Pareto distribution, which are
dealt to the slices at random. A random draw in their place may be so near to 0 that there is no mean."""

PARETO = 1.16
"""The exponent at which a fifth of those who ask make four fifths of the requests."""
AT_ONCE = 256


def survived(requests: Iterable[int], shards: int, slices: int, orders: int) -> int | None:
    """The number of the request, from 1, after which nothing is left; None if something still is when they end.

    Args:
        requests: slices, numbered through all shards: ``shard · slices + slice``.
    """
    gone_through = rotations(slices, orders)
    lost = {shard: set[int]() for shard in range(shards)}  # of the shards that have something left
    for count, request in enumerate(requests, start=1):
        shard, number = divmod(request, slices)
        if shard not in lost:
            continue
        lost[shard].add(number)
        if not any(usable(order, lost[shard]) for order in gone_through):
            del lost[shard]
        if not lost:
            return count
    return None


def expected(shards: int, slices: int, orders: int) -> float:
    """What ``survived`` is on average where all slices are as likely."""
    return shards * slices * math.fsum(1 / k for k in range(1, shards * orders + 1))


def weights(asker: Asker, count: int, rng: np.random.Generator) -> np.ndarray:
    """How likely a request is to be for each of so many slices; float64 [count], adds up to 1."""
    places = (np.arange(count) + 0.5) / count
    quantiles = {
        "uniform": np.ones(count),
        "exponential": -np.log1p(-places),
        "pareto": (1 - places) ** (-1 / PARETO),
    }
    found = rng.permutation(quantiles[asker])
    return found / found.sum()


def asked(likely: np.ndarray, rng: np.random.Generator) -> Iterator[int]:
    """Requests without an end, one independent of the other."""
    while True:
        yield from rng.choice(len(likely), AT_ONCE, p=likely).tolist()


def counted(asker: Asker, shards: int, slices: int, orders: int, streams: int, seed: int) -> np.ndarray:
    """``survived`` of so many random streams, int64 [streams]; stream number i is the same whatever the orders are."""
    found = []
    for stream in range(streams):
        rng = np.random.default_rng([seed, stream])
        requests = asked(weights(asker, shards * slices, rng), rng)
        found.append(survived(requests, shards, slices, orders))
    return np.array(found, dtype=np.int64)
