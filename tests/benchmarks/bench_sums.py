"""Exact sums, packed masks and serving from bits, each against the plain way in the same run.

    python -m tests.benchmarks.bench_sums [parameters] [rounds]

Prints nanoseconds per parameter (and vector); the ways of a group are timed in turn, round by round, so that a busy
machine slows all of them alike; medians.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from clients.exact import bits
from clients.exact.exact_sum import ExactSum
from clients.exact.grid import FINE, Grid, to_grid
from clients.settings import TuningSpec
from clients.work.tuning import grid_of

Ways = dict[str, Callable[[], object]]


def medians(ways: Ways, rounds: int, size: int) -> dict[str, float]:
    """Median nanoseconds per parameter of each way."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        for name, work in ways.items():
            started = time.perf_counter_ns()
            work()
            if round_:  # the first one warms up
                taken[name].append((time.perf_counter_ns() - started) / size)
    return {name: float(np.median(times)) for name, times in taken.items()}


def show(title: str, times: dict[str, float]) -> None:
    """A table of ways; ratios are to the first one."""
    print(f"\n{title}")
    base = next(iter(times.values()))
    for name, nanoseconds in times.items():
        print(f"  {name:<52}{nanoseconds:8.2f} ns{nanoseconds / base:8.2f} x")


def sums(vectors: list[np.ndarray]) -> Ways:
    """Adding one vector to a sum."""
    size = vectors[0].size
    floats, naive = np.zeros(size, dtype=np.float32), np.zeros(size, dtype=np.int64)
    tuned, many = grid_of(TuningSpec(), 500), grid_of(TuningSpec(), 10**6)
    middle = Grid(26, 2**23, 200)
    turn: Counter[str] = Counter()

    def following(name: str) -> np.ndarray:
        turn[name] += 1
        return vectors[turn[name] % len(vectors)]

    def add_floats() -> None:
        np.add(floats, following("floats"), out=floats)

    def add_naive() -> None:
        np.add(naive, np.rint(following("naive").astype(np.float64) * 2**32).astype(np.int64), out=naive)

    def adding(grid: Grid) -> Callable[[], object]:
        exact, name = ExactSum(size, grid), f"{grid}"
        return lambda: exact.add(following(name))

    assert [grid.dtype for grid in (tuned, middle, many)] == [np.dtype(each) for each in ("int32", "int32", "int64")]
    return {
        "fp32, in place (not exact)": add_floats,
        "exact: ExactSum.add, grid auto, 500 clients: int32": adding(tuned),
        "exact, grid auto, 1,000,000 clients: int64": adding(many),
        "exact, bounds beyond 2^22 steps: int32": adding(middle),
        "exact, grid of 2^-32: int64": adding(FINE),
        "fixed point, naive: int64(rint(float64(x) 2^32))": add_naive,
    }


def packing(mask: np.ndarray) -> Ways:
    """A mask to bits."""
    weights = (1 << np.arange(8)).astype(np.uint8)
    padded = np.zeros(-(-mask.size // 8) * 8, dtype=np.uint8)

    def by_weights() -> np.ndarray:
        padded[: mask.size] = mask
        packed: np.ndarray = padded.reshape(-1, 8) @ weights
        return packed

    assert np.array_equal(by_weights(), bits.pack(mask))
    return {"bits.pack": lambda: bits.pack(mask), "rows of eight times powers of two": by_weights}


def serving(theta: np.ndarray, direction: np.ndarray, mask: np.ndarray) -> Ways:
    """A served vector from packed bits."""
    packed, out = bits.pack(mask), np.empty_like(theta)

    def common() -> np.ndarray:
        return theta + np.float32(1.4) * (
            np.unpackbits(packed, count=theta.size, bitorder="little").astype(np.float32) * direction
        )

    assert np.array_equal(common(), bits.add_masked(theta, direction, 1.4, packed))
    return {
        "copy of the base model": lambda: np.copyto(out, theta),
        "bits.add_masked, no mask": lambda: bits.add_masked(theta, direction, 1.4, None, out),
        "bits.add_masked, blocked, from packed bits": lambda: bits.add_masked(theta, direction, 1.4, packed, out),
        "common: unpack to float, multiply, add": common,
    }


def main(size: int = 16_000_000, rounds: int = 15) -> None:
    random = np.random.default_rng(0)
    vectors = [random.normal(0, 1e-3, size).astype(np.float32) for _ in range(3)]
    naive = np.rint(vectors[0].astype(np.float64) * 2**32).astype(np.int64)
    assert np.array_equal(to_grid(vectors[0], FINE), naive)
    mask = vectors[2] > 0
    print(f"{size} parameters, medians of {rounds} rounds; per parameter, ratios to the first line of each group")
    show("add one vector to a sum", medians(sums(vectors), rounds, size))
    show("pack a mask", medians(packing(mask), rounds, size))
    show("serve: base + scale · mask · direction", medians(serving(vectors[0], vectors[1], mask), rounds, size))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
