"""What the race of settings (``strategies.scale``) saves and loses, against scoring every setting on all members asked.

    python -m tests.benchmarks.bench_race [--data FOLDER] [--only SETTING ...]      # 50 clients, three seeds, a minute each

Every setting is scored on all members; the race is then played on the first rows of the same scores, in the order in which
members are asked and in random orders.
"""

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from clients import determinism
from clients.jobs import open_site
from sim.asking import Asker
from sim.learning import learn
from sim.run import prepare
from sim.scenario import Scenario
from sim.system import build
from sim.workers import InlineWorkers
from strategies import scale
from tests.benchmarks.study import ALPHA, SEEDS, SETTINGS, scenario_of

TASKS = 50
ORDERS = 20
STRATEGIES: list[Any] = [
    "tall",
    {"average": {"alpha": ALPHA}},
    {"sift_masks": {"keep": 1.0, "alpha": ALPHA}},
    {"sift_masks": {"label": "sift_half", "keep": 0.5, "alpha": ALPHA}},
]

Scores = Mapping[scale.Candidate, Sequence[float]]


def whole_tables(scenario: Scenario, seed: int) -> dict[str, Scores]:
    """Of each strategy, the scores of all its settings on all members asked, in the order in which they are asked."""
    prepare(scenario, seed)
    tables: dict[str, Scores] = {}
    with tempfile.TemporaryDirectory() as folder, determinism.deterministic():
        system = build(scenario, seed, Path(folder))
        workers = InlineWorkers(open_site(system.settings))
        learn(system, dict.fromkeys(system.kept, system.joining), workers)
        for label, strategy in system.strategies.items():

            def all_go_on(scores: Scores, label: str = label) -> list[scale.Candidate]:
                tables[label] = {candidate: list(values) for candidate, values in scores.items()}
                return list(scores)

            with mock.patch.object(scale, "not_behind", all_go_on):
                strategy.localize(system.kept_of(label), Asker(workers, strategy))
    return tables


def raced(table: Scores) -> tuple[scale.Candidate, int]:
    """The setting that wins the race, and how many scores that takes."""
    members = len(next(iter(table.values())))
    running, seen, scored = sorted(table), 0, 0
    while seen < members and len(running) > 1:
        until = min(members, max(scale.FIRST_ASKED, 2 * seen))
        scored += len(running) * (until - seen)
        seen = until
        running = scale.not_behind({candidate: table[candidate][:seen] for candidate in running})
    return running[0], scored


def shuffled(table: Scores, seed: int) -> Scores:
    """The same scores with members in a random order."""
    order = np.random.default_rng(seed).permutation(len(next(iter(table.values()))))
    return {candidate: [values[member] for member in order] for candidate, values in table.items()}


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="*", default=list(SETTINGS))
    asked = parser.parse_args()
    totals: dict[str, list[tuple[bool, float, int, float]]] = {}
    for name in asked.only:
        for seed in SEEDS if asked.data or not SETTINGS[name].needs else ():
            scenario = scenario_of(name, TASKS, seed, asked.data)
            scenario = Scenario.model_validate(scenario.model_dump(mode="json") | {"strategies": STRATEGIES})
            for label, table in whole_tables(scenario, seed).items():
                best, (winner, scored) = scale.not_behind(table)[0], raced(table)
                share, lost = scored / (len(table) * TASKS), mean(table[best]) - mean(table[winner])
                other = sum(raced(shuffled(table, order))[0] != best for order in range(ORDERS))
                totals.setdefault(label, []).append((best == winner, lost, other, share))
                said = "the same" if best == winner else f"{winner} for {best}, {lost:.4f} lost"
                print(f"{name:<15} seed {seed}  {label:<10} {share:4.0%} of {len(table) * TASKS} scores; {said}", flush=True)
    for label, found in totals.items():
        same, losses, others, shares = zip(*found, strict=True)
        print(
            f"{label:<10} {sum(same)} of {len(same)} the same, most lost {max(losses):.4f}, {mean(shares):.0%} of scores, "
            f"another in {sum(others)} of {len(others) * ORDERS} random orders"
        )


if __name__ == "__main__":
    main()
