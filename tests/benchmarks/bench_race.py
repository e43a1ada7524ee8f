"""What the race of settings (``strategies.scale``) saves and loses, against scoring every setting on all members asked.

    python -m tests.benchmarks.bench_race [--data FOLDER] [--only SETTING ...]      # 50 clients, three seeds, a minute each

Every setting is scored on all members; the race is then played on the first rows of the same scores, in the order in which
members are asked and in random orders.
"""

import argparse
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from clients.exact import determinism
from clients.work.site import open_site
from sim.life.asking import Asker
from sim.life.learning import learn
from sim.life.life import first_population
from sim.life.system import build
from sim.plan.checks import prepare
from sim.scenario.model import Scenario
from sim.workers.workers import InlineWorkers
from strategies import scale
from strategies.state.store import Folder
from tests.benchmarks.study import ALPHA, SEEDS, SETTINGS, scenario_of

TASKS = 50
ORDERS = 20
STRATEGIES: list[Any] = [
    "tall",
    {"average": {"alpha": ALPHA}},
    {"sift_masks": {"keep": 1.0, "alpha": ALPHA}},
    {"sift_masks": {"label": "sift_half", "keep": 0.5, "alpha": ALPHA}},
]


def whole_tables(scenario: Scenario, seed: int) -> dict[str, scale.Scores]:
    """Of each strategy, the scores of all its settings on all members asked, in the order in which they are asked."""
    prepare(scenario, seed)
    tables: dict[str, scale.Scores] = {}
    with tempfile.TemporaryDirectory() as folder, determinism.deterministic():
        system = build(scenario, seed, Folder(Path(folder)), first_population(scenario, seed))
        workers = InlineWorkers(open_site(system.settings))
        learn(system, dict.fromkeys(system.kept, system.population.joining), workers)
        for label, strategy in system.strategies.items():

            def all_asked(
                running: Sequence[scale.Candidate], clients: Sequence[str], scored: Any, label: str = label
            ) -> scale.Candidate:
                tables[label] = scored(clients, running)
                return running[0]

            with mock.patch.object(scale, "winner", all_asked):
                strategy.localize(system.kept_of(label), Asker(workers, strategy))
    return tables


def raced(table: scale.Scores, members: Sequence[int]) -> tuple[scale.Candidate, int]:
    """The setting that wins the race when members are asked in this order, and how many scores that takes."""
    taken = 0

    def scored(some: Sequence[int], running: Sequence[scale.Candidate]) -> scale.Scores:
        nonlocal taken
        taken += len(some) * len(running)
        return {candidate: [table[candidate][member] for member in some] for candidate in running}

    return scale.winner(sorted(table), members, scored), taken


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
                best, (winner, scored) = scale.not_behind(table)[0], raced(table, range(TASKS))
                share, lost = scored / (len(table) * TASKS), mean(table[best]) - mean(table[winner])
                orders = [np.random.default_rng(order).permutation(TASKS).tolist() for order in range(ORDERS)]
                other = sum(raced(table, order)[0] != best for order in orders)
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
