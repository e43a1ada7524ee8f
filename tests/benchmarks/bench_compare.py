"""What comparing strategies costs, against the dearest of them alone: learning (tuning, merging, masks), then evaluation.

    python -m tests.benchmarks.bench_compare [SCENARIO]        # 40 clients, the quickstart's by default, in this process

Processor seconds of one thread, so that a busy machine does not decide; the dearest one and the lists take turns, since a
machine's own speed moves by a tenth in minutes. Every list is learned anew, nothing is taken over.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from clients.exact import determinism
from clients.work.site import open_site
from sim.life.evaluation import evaluate
from sim.life.learning import learn, localize
from sim.life.ledger import Ledger
from sim.life.life import open_life
from sim.plan.checks import prepare
from sim.scenario.file import load_scenario
from sim.scenario.model import Scenario
from sim.workers.workers import InlineWorkers

ROUNDS = 3
LISTS = {
    "one tuning rule": ["zero_shot", "local", "average", "ties", "magmax", "emr", "tall", "clamu"],
    "two tuning rules": ["zero_shot", "local", "average", "emr", "tall", "clamu", "mask_only", "sift_masks"],
}


def seconds_of(name: str, strategies: list[str]) -> tuple[float, float]:
    """Learning and evaluation of a scenario's first 40 clients under these strategies."""
    base = load_scenario(name, ["data.clients=40"]).model_dump(mode="json")
    scenario = Scenario.model_validate(base | {"strategies": strategies, "stream": {"requests": 0}})
    seed = scenario.seeds[0]
    prepare(scenario, seed)
    with tempfile.TemporaryDirectory() as folder, determinism.deterministic():
        life = open_life(Path(folder), scenario, seed, Ledger(Path(folder) / "ledger.jsonl"))
        system, workers = life.system, InlineWorkers(open_site(life.system.settings))
        started = time.process_time()
        learn(system, dict.fromkeys(system.kept, system.population.joining), workers)
        localize(system, workers)
        system.save()
        learned = time.process_time()
        evaluate(system, life.record, workers)
        return learned - started, time.process_time() - learned


def main() -> None:
    scenario = sys.argv[1] if len(sys.argv) > 1 else "quickstart"
    alone = {name: seconds_of(scenario, [name]) for name in sorted({name for names in LISTS.values() for name in names})}
    print("alone                        learning   evaluation, s")
    for name, (learning, evaluation) in alone.items():
        print(f"  {name:<26} {learning:8.1f}   {evaluation:8.1f}", flush=True)
    dearest = max(alone, key=lambda name: alone[name][0])
    rounds = [
        {title: seconds_of(scenario, names) for title, names in ({dearest: [dearest]} | LISTS).items()}
        for _ in range(ROUNDS)
    ]
    for title, names in LISTS.items():
        ratios = sorted(each[title][0] / each[dearest][0] for each in rounds)
        learning, evaluation = (statistics.median(each[title][part] for each in rounds) for part in (0, 1))
        print(f"{title}: {', '.join(names)}")
        print(f"  learning {learning:.1f} s, evaluation {evaluation:.1f} s, medians of {ROUNDS} rounds")
        print(
            f"  learning over that of {dearest} alone in the same round: {', '.join(f'{ratio:.2f}' for ratio in ratios)} x"
        )


if __name__ == "__main__":
    main()
