"""What a scaling study takes beside its largest point alone: the aim is 1.3 times as much.

    python -m tests.benchmarks.bench_scale [--clients 2,5,10,25,50,125,250,500]

The embedded sent140 setting with seven strategies and one seed, a quarter of the clients deleted in one release, audited,
and everything inline. The largest point, the study, and the study whose deletions take vectors from the store of parts play
at the same time, each in a process of its own, so that other work slows them alike; times are of the processor.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

STRATEGIES = "zero_shot,label_prior,local,average,sift_masks,ridge,clamu"
SETS = ("workers.kind=inline", "data.config=600")  # so many write in the embedded table
MAIN = "from sim.cli import main; main()"


def started(folder: Path, clients: str, sets: Sequence[str] = ()) -> int:
    """The process of a study over these numbers of clients."""
    words = [word for each in (*SETS, *sets) for word in ("--set", each)]
    options = ["--strategies", STRATEGIES, "--out", str(folder), *words]
    command = [sys.executable, "-c", MAIN, "scale", "sent140", "--clients", clients, *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL).pid


def processor_seconds(pid: int) -> float:
    """Processor seconds of a process, once it has ended."""
    _, status, used = os.wait4(pid, 0)
    if status:
        raise SystemExit("a study has failed; its error stands above")
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="2,5,10,25,50,125,250,500")
    clients = parser.parse_args().clients
    largest = max(clients.split(","), key=int)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processor_seconds(started(folder / "warm", "2"))  # imports, and the base model is pretrained
        pids = [
            started(folder / "alone", largest),
            started(folder / "study", clients),
            started(folder / "shared", clients, ["workers.share_deletions=true"]),
        ]
        alone, study, shared = map(processor_seconds, pids)
    print(f"T = {largest} alone: {alone:.0f} s")
    print(f"T = {clients}: {study:.0f} s, {study / alone:.2f} times as much")
    print(f"deletions share too: {shared:.0f} s, {shared / alone:.2f} times as much")


if __name__ == "__main__":
    main()
