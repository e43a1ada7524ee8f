"""``summary.json``: the results of a run, from the progress of each of its seeds."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from clients.exact import determinism, digest
from sim.life import prior, times
from sim.life.evaluation import mean
from sim.life.ledger import Ledger
from sim.life.record import PHASES, ROWS, Record
from sim.life.system import System
from strategies.state.kept import chooses

ACCURACIES = (
    "held_in_before", "held_in_after", "held_out_before", "held_out_after", "forgotten_before", "forgotten_after",
    "unseen_before", "unseen_after", "other_half_before", "other_half_after", "stayed_before",
)  # fmt: skip


def summarize(system: System, records: list[Record], rows: list[dict[str, Any]], ledger: Ledger) -> dict[str, Any]:
    """The summary of all seeds: means of numbers, one digest over the seeds' digests.

    Args:
        rows: of all evaluations, of all seeds.
    """
    scenario = system.scenario
    first = records[0]
    accuracy = {label: [_accuracies(rows, record, label) for record in records] for label in system.strategies}
    above = prior.above(scenario, rows, records)
    summary: dict[str, Any] = {
        "name": scenario.name,
        "scenario_digest": scenario.digest(),
        "metric": first["metric"],
        "clients": first["clients"],
        "unseen": first["unseen"],
        "data": first["data"],
        "sides": first["sides"],
        "requests": first["deleted"],
        "joins": first["joins"],
        "refused": first["refused"],
        "days": scenario.stream.days,
        "deadline": scenario.stream.deadline,
        "compressed": times.compressed(scenario, records),
        "times": times.over_time(records),
        "missing": {str(record["seed"]): record["missing"] for record in records if record["missing"]},
        "allow_missing": scenario.workers.allow_missing,
        "gone": max(len(record["gone"]) for record in records),
        "seeds": [record["seed"] for record in records],
        "seconds": round(sum(record["seconds"] for record in records), 1),
        "parameters": first["parameters"],
        "environment": determinism.environment(system.settings.device),
        "ledger": {"records": ledger.records, "head": ledger.head},
        "strategies": {
            label: _strategy(system, label, records, accuracy[label]) | {"above_prior": above[label]}
            for label in system.strategies
        },
        "curve": {label: _curve(records, label) for label in system.strategies},
        "retrain": [
            {"deleted": points[0]["deleted"], "gradient_steps": _whole_mean(p["retrain_steps"] for p in points)}
            for points in zip(*(record["curve"] for record in records), strict=True)
        ],
    }
    if "gap" in scenario.audit:
        summary["unlearning"] = _unlearning(system, records, statistics.fmean)
        if len(records) > 1:
            summary["unlearning_spread"] = _unlearning(system, records, statistics.stdev)
    if len(records) > 1:
        summary["spread"] = {
            label: {key: _over([a[key] for a in accuracy[label]], statistics.stdev) for key in ACCURACIES}
            for label in system.strategies
        }
    return summary


def _unlearning(system: System, records: list[Record], fold: Callable[[list[float]], float]) -> dict[str, Any]:
    """What attacks have measured, folded over seeds; None where one seed has no value."""
    measured = {label: [record["unlearning"][label] for record in records] for label in system.strategies}
    return {
        label: {key: _over([values[key] for values in mine], fold) for key in mine[0]} for label, mine in measured.items()
    }


def _strategy(system: System, label: str, records: list[Record], accuracy: list[dict[str, Any]]) -> dict[str, Any]:
    strategy = system.strategies[label]
    states = [record["state_digest"][label] for record in records]
    rebuilt = [record["rebuilt_digest"][label] for record in records]
    spec = next(spec for spec in system.scenario.strategies if spec.label == label)

    def cost(key: str, phase: str) -> Any:
        value = statistics.fmean(record[phase][label][key] for record in records)
        return round(value, 3) if key == "seconds" else round(value)

    def total(key: str) -> Any:
        return sum(cost(key, phase) for phase in PHASES)

    return {
        "strategy": spec.strategy,
        "failed": next((record["failed"][label] for record in records if label in record["failed"]), None),
        "exactness": strategy.exactness,
        "deletion": strategy.deletion,
        "tuning": strategy.rule,
        "parameters": spec.parameters.model_dump(mode="json", exclude={"label"}),
        "accuracy": {key: _over([a[key] for a in accuracy], statistics.fmean) for key in ACCURACIES},
        "gradient_steps": {phase: cost("gradient_steps", phase) for phase in PHASES},
        "parallel_steps": {phase: cost("parallel_steps", phase) for phase in PHASES},
        "evaluations": {phase: cost("evaluations", phase) for phase in PHASES},
        "client_tunings": total("client_tunings"),
        "client_tunings_forget": cost("client_tunings", "forget"),
        "seconds": {phase: cost("seconds", phase) for phase in PHASES},
        **times.of_strategy(system.scenario, records, label),
        "bytes_up": total("bytes_up"),
        "bytes_down": total("bytes_down"),
        "storage_before": _whole_mean(record["curve"][0]["strategies"][label]["storage_bytes"] for record in records),
        "storage_bytes": _whole_mean(record["storage_bytes"][label] for record in records),
        "chosen": [record["chosen"][label] for record in records],
        "told": [record["told"].get(label, {}) for record in records],
        "state_digest": _one_digest(states),
        "rebuilt_digest": None if None in rebuilt else _one_digest(rebuilt),
        "bitwise_equal": None if None in rebuilt else states == rebuilt,
    }


def _accuracies(rows: list[dict[str, Any]], record: Record, label: str) -> dict[str, float | None]:
    """Before and after, by split; ``forgotten_before`` is of those who are forgotten by the end.

    ``stayed_before`` is of those who are members at the end: beside ``held_in_after`` it tells what the others' deletions
    cost them. ``other_half`` is of the members on whose data nothing is chosen, where that is half of them.
    """
    before, after = (record["curve"][index]["strategies"][label] for index in (0, -1))
    forgotten = set(record["forgotten"])
    mine = [row for row in rows if (row["strategy"], row["seed"]) == (label, record["seed"])]
    first = [row for row in mine if row["events"] == 0]
    last = [row for row in mine if row["events"] == record["curve"][-1]["events"]]
    stayed = {row["client"] for row in last if row["split"] == "held_in"}
    other = [_other_half(some, record) for some in (first, last)]
    return {
        "held_in_before": before["held_in"],
        "held_in_after": after["held_in"],
        "held_out_before": before["held_out"],
        "held_out_after": after["held_out"],
        "forgotten_before": mean([row for row in first if row["client"] in forgotten]),
        "forgotten_after": after["forgotten"],
        "unseen_before": before["unseen"],
        "unseen_after": after["unseen"],
        "other_half_before": mean(other[0]),
        "other_half_after": mean(other[1]),
        "stayed_before": mean([row for row in first if row["client"] in stayed]),
    }


def _other_half(rows: list[dict[str, Any]], record: Record) -> list[dict[str, Any]]:
    """Rows of the members on whose data nothing is chosen, where that is half of them."""
    held_in = [row for row in rows if row["split"] == "held_in"] if record["sides"]["halved"] else []
    return [row for row in held_in if not chooses(row["client"], record["seed"])]


def _curve(records: list[Record], label: str) -> list[dict[str, Any]]:
    curve = []
    for points in zip(*(record["curve"] for record in records), strict=True):
        mine = [p["strategies"][label] for p in points]
        accuracies = {key: _over([m[key] for m in mine], statistics.fmean) for key in ("held_in", "held_out", "forgotten")}
        counts = {key: _whole_mean(m[key] for m in mine) for key in ("gradient_steps", "storage_bytes")}
        when = {key: points[0].get(key) for key in ("day", "events", "deleted")}  # runs of before have no day there
        curve.append(when | accuracies | counts)
    return curve


def _over(values: list[float | None], fold: Callable[[list[float]], float]) -> float | None:
    present = [value for value in values if value is not None]
    return fold(present) if len(present) == len(values) else None


def _whole_mean(values: Any) -> int:
    return round(statistics.fmean(values))


def _one_digest(digests: list[str]) -> str:
    return digests[0] if len(digests) == 1 else digest.of_json(digests)


def read_rows(run: Path, **equal: Any) -> list[dict[str, Any]]:
    """Rows of a run's ``metrics.parquet`` with these values."""
    filters = [(key, "=", value) for key, value in equal.items()] or None
    rows: list[dict[str, Any]] = pq.read_table(run / ROWS, filters=filters).to_pylist()
    return rows
