"""How far a strategy is above the label prior, which knows little but who asks: the floor where answers are labels."""

import statistics
from collections.abc import Sequence
from typing import Any

from sim.life.record import Record
from sim.scenario.model import Scenario
from strategies.registry import PRIOR

SURE = 1.96
"""Standard errors of a 95 % interval."""

Scores = dict[tuple[int, str], float]
"""By seed and client."""


def above(
    scenario: Scenario, rows: Sequence[dict[str, Any]], records: Sequence[Record]
) -> dict[str, dict[str, float] | None]:
    """By strategy the mean difference of members' scores at the end, paired by client and seed, with the ends of its 95 %
    interval. None without a prior, of the prior itself, and where fewer than two clients have both scores.
    """
    prior = next((spec.label for spec in scenario.strategies if spec.strategy == PRIOR), None)
    floor = {} if prior is None else _last(rows, records, prior)
    return {
        spec.label: None if spec.label == prior else _difference(_last(rows, records, spec.label) if floor else {}, floor)
        for spec in scenario.strategies
    }


def _difference(mine: Scores, floor: Scores) -> dict[str, float] | None:
    apart = [mine[who] - floor[who] for who in sorted(mine.keys() & floor.keys())]
    if len(apart) < 2:
        return None
    difference, error = statistics.fmean(apart), SURE * statistics.stdev(apart) / len(apart) ** 0.5
    return {"difference": difference, "low": difference - error, "high": difference + error}


def _last(rows: Sequence[dict[str, Any]], records: Sequence[Record], label: str) -> Scores:
    """Members' scores at the last evaluation, by seed and client."""
    ends = {record["seed"]: record["curve"][-1]["events"] for record in records}
    return {
        (row["seed"], row["client"]): row["value"]
        for row in rows
        if (row["strategy"], row["split"]) == (label, "held_in")
        and row["events"] == ends[row["seed"]]
        and row["value"] is not None
    }
