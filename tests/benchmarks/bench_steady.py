"""How steady this machine is, and so what measuring for a few seconds can tell of a run that follows.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_steady [MINUTES PROCESSES]

Processes tune the same eight clients of the embedded sent140 setting again and again, for 20 minutes. Prints the quickest
and slowest stretches, and for plans made at every second moment: by how much the mean of some seconds of one process differs
from the speed of all processes in the time that follows. The work never changes, so all of this is the machine's.
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from rich.console import Console
from rich.table import Table

from clients.jobs import perform, tune_job
from clients.work.site import open_site
from sim.plan.speeds import CLIENTS, some_of
from sim.scenario.file import load_scenario

STEPS = 8
TICK = 0.5
"""Seconds between two moments."""
MEASURED, RUNS, STRETCHES = (10, 20, 30, 60, 90), (120, 525), (5, 60)
ALLOWED = 0.2


def tuned(minutes: float) -> list[tuple[float, float]]:
    """When each round began, and the CPU seconds that it took."""
    scenario = load_scenario("sent140", ["data.clients=100", f"tuning.steps={STEPS}"])
    site = open_site(scenario.settings(7))
    shards = sorted(site.shards(), key=lambda shard: len(shard.train))
    job = tune_job([shard.client for shard in some_of(shards, CLIENTS)], "plain", ())
    perform(site, job, {})
    found, end = [], time.time() + 60 * minutes
    while (begun := time.time()) < end:
        spent = time.process_time()
        reply = perform(site, job, {})
        assert not reply.error
        found.append((begun, time.process_time() - spent))
    return found


def errors(seconds: np.ndarray, measured: int, run: int) -> np.ndarray:
    """Planned by taken, less 1, for plans of each process at every second moment.

    Args:
        seconds: of a round, a row per process, a column per tick.
    """
    ticks, length = round(measured / TICK), round(run / TICK)
    moments = range(0, seconds.shape[1] - ticks - length + 1, 2)
    planned = np.array([seconds[:, at : at + ticks].mean(1) for at in moments])
    rounds = np.array([(1 / seconds[:, at + ticks : at + ticks + length]).mean() for at in moments])
    return (planned * rounds[:, None] - 1).ravel()


def main() -> None:
    minutes, processes = (float(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (20.0, 2)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        each = [np.array(found) for found in pool.map(tuned, [minutes] * processes)]
    begun, ended = max(one[0, 0] for one in each), min(one[-1, 0] for one in each)
    seconds = np.array([np.interp(np.arange(begun, ended, TICK), *one.T) for one in each])
    for stretch in (stretch for stretch in STRETCHES if stretch < ended - begun):
        ticks = round(stretch / TICK)
        means = np.array([np.convolve(row, np.full(ticks, 1 / ticks), "valid") for row in seconds]) / seconds.mean()
        print(f"{stretch} s of one process: {means.min():.2f} to {means.max():.2f} of the mean")
    table = Table(title=f"{processes} processes, {minutes:.0f} minutes: what a plan misses by")
    for heading in ("run, s", "measured, s", "sd, %", f"beyond {ALLOWED:.0%}", "range, %"):
        table.add_column(heading, justify="right")
    for run in RUNS:
        for measured in MEASURED:
            if measured + run < ended - begun:
                found = errors(seconds, measured, run)
                cells = f"{100 * found.std():.0f}", f"{np.mean(abs(found) > ALLOWED):.1%}"
                table.add_row(f"{run}", f"{measured}", *cells, f"{100 * found.min():.0f} to {100 * found.max():.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
