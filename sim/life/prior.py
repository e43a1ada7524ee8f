"""How far a strategy is above the label prior, which knows little but who asks: the floor where answers are labels."""

import statistics
from collections.abc import Sequence
from typing import Any

from sim.life.record import Record
from sim.scenario.model import Scenario
from strategies.registry import PRIOR

SURE = 1.96
"""Standard errors of a 95 % interval."""


def prior_of(scenario: Scenario) -> str | None:
    """The label of the run's label prior; None if it has none."""
    return next((spec.label for spec in scenario.strategies if spec.strategy == PRIOR), None)


def above(
    rows: Sequence[dict[str, Any]], records: Sequence[Record], label: str, prior: str | None
) -> dict[str, float] | None:
    """Mean difference of members' scores at the end, paired by client and seed, with the ends of its 95 % interval.

    None without a prior, of the prior itself, and where fewer than two clients have both scores.
    """
    if prior is None or label == prior:
        return None
    mine, floor = (_last(rows, records, each) for each in (label, prior))
    apart = [mine[who] - floor[who] for who in sorted(mine.keys() & floor.keys())]
    if len(apart) < 2:
        return None
    difference, error = statistics.fmean(apart), SURE * statistics.stdev(apart) / len(apart) ** 0.5
    return {"difference": difference, "low": difference - error, "high": difference + error}


def _last(rows: Sequence[dict[str, Any]], records: Sequence[Record], label: str) -> dict[tuple[int, str], float]:
    """Members' scores at the last evaluation, by seed and client."""
    ends = {record["seed"]: record["curve"][-1]["events"] for record in records}
    return {
        (row["seed"], row["client"]): row["value"]
        for row in rows
        if (row["strategy"], row["split"]) == (label, "held_in")
        and row["events"] == ends[row["seed"]]
        and row["value"] is not None
    }
