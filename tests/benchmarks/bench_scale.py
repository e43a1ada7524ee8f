"""What a scaling study takes beside its largest point alone: the aim is 1.3 times as much.

    python -m tests.benchmarks.bench_scale [--clients 2,5,10,25,50,125,250,500]

The embedded sent140 setting with seven strategies and one seed, a quarter of the clients deleted in one release, audited,
and everything inline. Times are of the processor, so other work on the machine does not count; each is of a process of its
own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

STRATEGIES = "zero_shot,label_prior,local,average,sift_masks,ridge,clamu"
SETS = ["--set", "workers.kind=inline", "--set", "data.config=600"]  # so many write in the embedded table
MAIN = "from sim.cli import main; main()"


def processor_seconds(folder: Path, clients: str) -> float:
    """Processor seconds of a study over these numbers of clients; nothing else may run as a child meanwhile."""
    before = os.times()
    options = ["--strategies", STRATEGIES, *SETS, "--out", str(folder)]
    command = [sys.executable, "-c", MAIN, "scale", "sent140", "--clients", clients, *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="2,5,10,25,50,125,250,500")
    clients = parser.parse_args().clients
    largest = max(clients.split(","), key=int)
    with tempfile.TemporaryDirectory() as folder:
        processor_seconds(Path(folder) / "warm", "2")  # imports, and the base model is pretrained
        alone = processor_seconds(Path(folder) / "alone", largest)
        study = processor_seconds(Path(folder) / "study", clients)
    print(f"T = {largest} alone: {alone:.0f} s; T = {clients}: {study:.0f} s, {study / alone:.2f} times as much")


if __name__ == "__main__":
    main()
