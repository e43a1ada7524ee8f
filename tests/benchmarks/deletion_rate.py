"""Requests that SISA and S3T take until nothing is left of them (``sim.study.deletion_rate``); nothing is trained.

    python -m tests.benchmarks.deletion_rate [--shards S] [--slices R] [--streams N] [--seed SEED]      # a second

Mean and standard error over random streams, beside the theory for uniform requests.
"""

import argparse
import math
from typing import get_args

from sim.study.deletion_rate import Asker, counted, expected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("shards", 5), ("slices", 4), ("streams", 400), ("seed", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    told = parser.parse_args()
    askers = get_args(Asker)
    print("| orders | theory, uniform | " + " | ".join(askers) + " |")
    print("|---|---|" + "---|" * len(askers))
    for orders in range(1, told.slices + 1):
        row = [f"{orders} (SISA)" if orders == 1 else str(orders), f"{expected(told.shards, told.slices, orders):.1f}"]
        for asker in askers:
            found = counted(asker, told.shards, told.slices, orders, told.streams, told.seed)
            row.append(f"{found.mean():.1f} ± {found.std(ddof=1) / math.sqrt(told.streams):.1f}")
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
