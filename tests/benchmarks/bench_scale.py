"""What a scaling study takes beside its largest point alone: the aim is 1.3 times as much.

    python -m tests.benchmarks.bench_scale [--clients 2,5,10,25,50,125,250,500]

The embedded sent140 setting with seven strategies and one seed, a quarter of the clients deleted in one release, audited,
everything inline. Times are of the processor, so other work on the machine does not count; each is of a process of its own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

STRATEGIES = "zero_shot,label_prior,local,average,sift_masks,ridge,clamu"
INLINE = ["--set", "workers.kind=inline"]
MAIN = "from sim.cli import main; main()"


def unmerge(*arguments: str) -> None:
    """Run a command in a process of its own."""
    subprocess.run([sys.executable, "-c", MAIN, *arguments], check=True, stdout=subprocess.DEVNULL)


def processor_seconds(folder: Path, clients: str) -> float:
    """Processor seconds of a study over these numbers of clients; nothing else may run as a child meanwhile."""
    before = os.times()
    unmerge("scale", "sent140", "--clients", clients, "--strategies", STRATEGIES, *INLINE, "--out", str(folder))
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="2,5,10,25,50,125,250,500")
    clients = parser.parse_args().clients
    largest = max(clients.split(","), key=int)
    with tempfile.TemporaryDirectory() as folder:
        unmerge("datasets", "sent140", "--set", f"data.clients={largest}")  # the base model is pretrained now, if at all
        alone = processor_seconds(Path(folder) / "alone", largest)
        study = processor_seconds(Path(folder) / "study", clients)
    print(f"T = {largest} alone: {alone:.0f} s; T = {clients}: {study:.0f} s, {study / alone:.2f} times as much")


if __name__ == "__main__":
    main()
