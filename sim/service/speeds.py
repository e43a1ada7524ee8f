"""Seconds of client work on one worker: measured now, or what a finished run's ledger says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from clients.errors import InputError
from sim.life import ledger
from sim.life.saved import LEDGER, SUMMARY, finished_run
from sim.life.system import Rule, read_json
from sim.plan.speeds import Speeds
from sim.plan.work import steps_of
from sim.scenario.model import Scenario
from strategies.work import Work


@dataclass(frozen=True)
class Seconds:
    """What a client of the mean size takes.

    Attributes:
        tuning: of deriving its vector, by rule.
        mask: of a gradient step of learning a mask.
        pooled: of a step on pooled data, which may have another batch, per ``per``.
        per: what of the work pooled steps are counted by.
        score: of scoring one served model.
    """

    tuning: Mapping[Rule, float]
    mask: float
    pooled: float
    score: float
    per: str = "pooled_steps"

    def of(self, work: Work) -> float:
        """Seconds of all work but tunings."""
        scored = self.score * (work.evaluations + work.probes)
        return self.mask * work.mask_steps + self.pooled * float(getattr(work, self.per)) + scored


def measured(speeds: Speeds, scenario: Scenario) -> Seconds:
    """As ``plan`` counts."""
    step = max(speeds.step.values())
    tuning = {rule: speeds.joining[rule] + steps_of(rule, scenario.tuning) * each for rule, each in speeds.step.items()}
    return Seconds(tuning, step, step / speeds.step_examples, speeds.score, per="pooled_examples")


def told(run: Path, scenario: Scenario, rules: set[Rule]) -> Seconds:
    """What the ledger of a finished run says: a tuning takes as long as its members' did, step by step; of what strategies
    have asked for beside, a step and a score take what fits their seconds best.

    Args:
        rules: under which there are strategies here.

    Raises:
        InputError: not a finished run, or nobody was tuned there under one of the rules.
    """
    finished_run(run)
    joins: dict[Rule, list[tuple[float, int]]] = {}
    for line in ledger.read(run / LEDGER):
        if line["event"] == "join":
            joins.setdefault(line["rule"], []).append((line["seconds"], line["steps"]))
    if missing := sorted(rule for rule in rules - joins.keys() if rule is not None):
        raise InputError(
            f"--speeds {run}: nobody was tuned under the rule {missing[0]} there; its rules are {', '.join(map(str, joins))}"
        )
    mean = {rule: float(np.mean([seconds for seconds, _ in each])) for rule, each in joins.items()}
    steps = {rule: max(count for _, count in each) for rule, each in joins.items()}
    rows, seconds = [], []
    for result in read_json(run / SUMMARY)["strategies"].values():
        rule, tuned = result["tuning"], result["client_tunings"] if result["tuning"] else 0
        beside = sum(result["gradient_steps"].values()) - tuned * steps.get(rule, 0)
        rows.append([beside, sum(result["evaluations"].values())])
        seconds.append(max(0.0, sum(result["seconds"].values()) - tuned * mean.get(rule, 0.0)))
    step, score = nnls(np.array(rows, dtype=np.float64), np.array(seconds))[0]
    if not step and joins:  # nobody asked for a step beside tuning
        step = max(each / max(steps[rule], 1) for rule, each in mean.items())
    ratio = {rule: steps_of(rule, scenario.tuning) / steps[rule] if steps[rule] else 1.0 for rule in mean}
    return Seconds({rule: each * ratio[rule] for rule, each in mean.items()}, float(step), float(step), float(score))
