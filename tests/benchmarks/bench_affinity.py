"""Inner products of all pairs of clients' vectors (clamu's affinity by task vectors), against plain ways in the same run.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_affinity [vectors] [parameters] [rounds]

Prints milliseconds of this process's CPU time per pair (medians; the ways take turns), with writing the vectors into a
folder as clients join. BLAS has all vectors in memory at once as float64; its bits depend on the library and the machine.
"""

import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clients.exact.grid import BLOCK
from clients.jobs import Reply
from clients.work.contributions import VECTOR
from strategies.state.affinity import Gram
from strategies.state.kept import Kept
from strategies.state.store import Folder, read_vector, write_vector
from strategies.state.vectors import Vectors


def joined(vectors: np.ndarray, cohort: int) -> dict[tuple[str, str], float]:
    """As the server does it: each cohort with all who are here."""
    size = vectors.shape[1]
    with tempfile.TemporaryDirectory() as name:
        kept = Kept(Path(name), "plain", (0, size), (Gram(),), 7, Folder(Path(name)))
        for start in range(0, len(vectors), cohort):
            names = [f"{number:04}" for number in range(start, min(start + cohort, len(vectors)))]
            reply = Reply(tuple(names), {}, {f"{VECTOR.key}/{client}": vectors[int(client)] for client in names})
            kept.members |= {client: {} for client in names}
            for part in (Vectors(), Gram()):
                kept[part].fold(reply)
        return kept[Gram()].products


def one_by_one(vectors: np.ndarray) -> dict[tuple[str, str], float]:
    """Each pair by itself: a vector is read and turned into float64 once for each who joins."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        store = Folder(Path(name))
        for number, vector in enumerate(vectors):
            write_vector(store, f"{number:04}", vector)
            mine = vector.astype(np.float64)
            for other in range(number + 1):
                theirs = read_vector(store, f"{other:04}")
                parts = [float((mine[s : s + BLOCK] * theirs[s : s + BLOCK]).sum()) for s in range(0, len(mine), BLOCK)]
                found[f"{other:04}", f"{number:04}"] = math.fsum(parts)
    return found


def by_blas(vectors: np.ndarray) -> np.ndarray:
    stack = vectors.astype(np.float64)
    return stack @ stack.T


def main(count: int = 200, size: int = 100_000, rounds: int = 3) -> None:
    vectors = np.random.default_rng(7).normal(scale=1e-3, size=(count, size)).astype(np.float32)
    ways: dict[str, Callable[[np.ndarray], object]] = {
        "joined, 4 at a time": lambda every: joined(every, 4),
        "joined, one at a time": lambda every: joined(every, 1),
        "common: pair by pair": one_by_one,
        "BLAS, all in memory": by_blas,
    }
    same = joined(vectors[:20], 4)
    assert same == joined(vectors[:20], 1) == one_by_one(vectors[:20])
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            started = time.process_time()
            work(vectors)
            spent[name].append(1e3 * (time.process_time() - started) / (count * (count + 1) / 2))
    print(f"{count} vectors of {size} parameters, medians of {rounds} rounds; ratios to the first line")
    first = np.median(next(iter(spent.values())))
    for name, each in spent.items():
        print(f"  {name:<28}{np.median(each):8.3f} ms a pair{np.median(each) / first:8.2f} x")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
