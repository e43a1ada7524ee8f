"""How long requests waited on the simulated clock, from what the records of a run's seeds say of their releases."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sim.life.record import PHASES, Record
from sim.scenario.arrivals import PRESETS, REFERENCE, YEAR
from sim.scenario.model import Scenario
from sim.stream import clock


def of_strategy(scenario: Scenario, records: Sequence[Record], label: str) -> dict[str, Any]:
    """``time_to_forget`` of the requests of all seeds, in days; ``backlog`` of requests, and ``utilisation`` of the workers
    from day 0 to the last publication: means over seeds, but for the most that ever waited."""
    times = [(arrivals(record), published(record, label)) for record in records]
    waited = np.concatenate([done - asked for asked, done in times])
    ends = [_end(scenario, record, label) for record in records]
    return {
        "time_to_forget": clock.time_to_forget(waited, scenario.stream.deadline),
        "backlog": {
            "most": max(int(clock.backlog(*pair).max(initial=0)) for pair in times),
            "mean": round(sum(float((done - asked).sum()) for asked, done in times) / sum(ends), 3),
        },
        "utilisation": float(np.mean([_busy(scenario, r, label) / e for r, e in zip(records, ends, strict=True)])),
    }


def over_time(records: Sequence[Record]) -> dict[str, Any]:
    """When deletions of the first seed were asked for, and by label when they were published; days."""
    first = records[0]
    labels = first["state_digest"]
    return {
        "arrival": arrivals(first).tolist(),
        "published": {label: published(first, label).tolist() for label in labels},
    }


def compressed(scenario: Scenario, records: Sequence[Record]) -> float | None:
    """How many times as many deletions there were per client and year as DataGrail saw; None where there were none."""
    first = records[0]
    if not first["deleted"]:
        return None
    rate = first["deleted"] / len(first["joined"]) * YEAR / scenario.stream.days * 1e6
    return round(rate / float(PRESETS[REFERENCE].values["per_million"]), 1)


def arrivals(record: Record) -> np.ndarray:
    """Days on which the deletions that were carried out were asked for, release by release."""
    return np.array([day for release in record["released"] for day in release["arrivals"]], dtype=np.float64)


def published(record: Record, label: str) -> np.ndarray:
    """Days on which the models without them were published by a strategy, beside ``arrivals``."""
    days = [[release["times"][label][-1]] * len(release["arrivals"]) for release in record["released"]]
    return np.array([day for release in days for day in release], dtype=np.float64)


def _end(scenario: Scenario, record: Record, label: str) -> float:
    return max([scenario.stream.days, *(release["times"][label][-1] for release in record["released"])])


def _busy(scenario: Scenario, record: Record, label: str) -> float:
    """Days that each of the workers is busy with what comes after learning."""
    seconds = sum(record[phase][label]["seconds"] for phase in PHASES if phase != "learn")
    return float(seconds) / clock.DAY / scenario.workers.count
