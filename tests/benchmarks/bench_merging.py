"""EMR, TALL and TIES over many memory-mapped task vectors, each against the plain dense way in the same run.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_merging [vectors] [parameters] [rounds]

Prints nanoseconds per parameter and vector, of wall time and of this process's CPU time (medians; the ways of a group take
turns), and how much memory each held at its peak. The dense ways stack all vectors in torch, on one thread, as the methods'
published code does, and the stack counts; pages of mapped files are the page cache's and do not.
"""

import ctypes
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from strategies.rebuild import emr, tall, ties
from strategies.state import streaming
from strategies.state.streaming import Row

Ways = dict[str, Callable[[], object]]


def anonymous() -> int:
    """Bytes of memory that this process holds, without mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def peak(work: Callable[[], object]) -> int:
    """Most bytes held at a time beyond those held before, looked at every 2 ms."""
    ctypes.CDLL(None).malloc_trim(0)
    before, most, over = anonymous(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.002):
            most = max(most, anonymous() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    over.set()
    watcher.join()
    return most


def report(title: str, ways: Ways, rounds: int, entries: int) -> None:
    """A table of ways, the first streamed and the second dense; ratios of CPU time are to the first one."""
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    most = {name: peak(work) for name, work in ways.items()}  # this warms up, too
    most[list(ways)[1]] += 4 * entries
    for _ in range(rounds):
        for name, work in ways.items():
            started = time.perf_counter_ns(), time.process_time_ns()
            work()
            wall[name].append((time.perf_counter_ns() - started[0]) / entries)
            cpu[name].append((time.process_time_ns() - started[1]) / entries)
    print(f"\n{title}")
    base = np.median(next(iter(cpu.values())))
    for name in ways:
        w, c = np.median(wall[name]), np.median(cpu[name])
        print(f"  {name:<44}{w:8.2f} ns wall{c:8.2f} ns CPU{c / base:8.2f} x{most[name] / 2**20:10.0f} MiB")


def dense_emr(stack: torch.Tensor) -> None:
    sign = torch.sign(stack.sum(0))
    unified = torch.zeros_like(sign)
    for tau in stack:
        unified = torch.maximum(unified, torch.where(tau * sign > 0, tau.abs(), 0.0))
    unified = unified * sign
    for tau in stack:
        mask = tau * unified > 0
        tau.abs().sum() / (mask * unified).abs().sum()
        np.packbits(mask.numpy(), bitorder="little")


def dense_tall(stack: torch.Tensor, threshold: float) -> None:
    total = stack.sum(0)
    for tau in stack:
        np.packbits((tau.abs() >= threshold * (total - tau).abs()).numpy(), bitorder="little")


def dense_ties(stack: torch.Tensor, keep: float) -> torch.Tensor:
    k = stack.shape[1] - int(keep * stack.shape[1]) + 1
    magnitude = stack.abs()
    trimmed = stack * (magnitude >= torch.stack([row.kthvalue(k).values for row in magnitude])[:, None])
    sign = torch.sign(trimmed.sum(0))
    sign = torch.where(sign == 0, torch.sign(sign.sum()), sign)
    chosen = trimmed * torch.where(sign > 0, trimmed > 0, trimmed < 0)
    merged: torch.Tensor = chosen.sum(0) / (chosen != 0).sum(0).clamp(min=1)
    return merged


def streamed_emr(rows: list[Row], size: int) -> None:
    unified = emr.unify(rows, size)
    for start in range(0, len(rows), emr.TOGETHER):
        emr.masks_and_scales(rows[start : start + emr.TOGETHER], unified)


def streamed_tall(rows: list[Row], size: int, threshold: float) -> None:
    total = streaming.total(rows, size)
    for row in rows:
        tall.tall_mask(row, total, threshold)


def main(vectors: int = 50, size: int = 4_000_000, rounds: int = 3) -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.safetensors" for index in range(vectors)]
        for path in paths:
            save_file({"value": random.standard_normal(size, dtype=np.float32) * np.float32(1e-3)}, path)
        rows = [streaming.mapped(path, size) for path in paths]
        stack = torch.stack([torch.from_numpy(row(slice(None))) for row in rows])
        np.testing.assert_allclose(ties.merge(rows, size, 0.2), dense_ties(stack, 0.2).numpy(), rtol=1e-4, atol=1e-9)
        print(f"{vectors} vectors of {size} parameters, one thread, medians of {rounds} rounds; per parameter and vector")
        entries = vectors * size
        report(
            "EMR: unify, masks, rescalers",
            {"strategies.rebuild.emr, streamed": lambda: streamed_emr(rows, size), "dense torch": lambda: dense_emr(stack)},
            rounds,
            entries,
        )
        report(
            "TALL: sum, masks of one threshold",
            {
                "strategies.rebuild.tall, streamed": lambda: streamed_tall(rows, size, 0.1),
                "dense torch": lambda: dense_tall(stack, 0.1),
            },
            rounds,
            entries,
        )
        report(
            "TIES: trim to 20 %, elect, merge",
            {
                "strategies.rebuild.ties, streamed": lambda: ties.merge(rows, size, 0.2),
                "dense torch": lambda: dense_ties(stack, 0.2),
            },
            rounds,
            entries,
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
