"""``summary.json``: the results of a run, from the progress of each of its seeds."""

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clients.exact import determinism, digest
from sim.life.cost import Cost
from sim.life.evaluation import mean
from sim.life.ledger import Ledger
from sim.life.system import System, read_json, write_json

ACCURACIES = (
    "held_in_before", "held_in_after", "held_out_before", "held_out_after", "forgotten_before", "forgotten_after",
    "unseen_before", "unseen_after",
)  # fmt: skip


def seed_record(
    system: System,
    learned: dict[str, Cost],
    forgot: dict[str, Cost],
    curve: list[dict[str, Any]],
    forgotten: list[str],
    retrain_steps: int,
) -> dict[str, Any]:
    """What one seed's run has come to, as JSON: enough to go on from, and to sum up."""
    return {
        "seed": system.seed,
        "clients": len(system.joining),
        "unseen": len(system.unseen),
        "data": list(system.manifest.notes),
        "metric": system.manifest.metric,
        "parameters": {"total": system.parameters, "tunable": next(iter(system.kept.values())).size},
        "forgotten": forgotten,
        "learn": {label: cost.as_facts() for label, cost in learned.items()},
        "forget": {label: cost.as_facts() for label, cost in forgot.items()},
        "curve": curve,
        "retrain_steps": retrain_steps,
        **state(system),
        "rebuilt_digest": dict.fromkeys(system.strategies),
    }


def add_request(
    record: dict[str, Any], system: System, client: str, costs: dict[str, Cost], rows: list[dict[str, Any]]
) -> None:
    """Bring a record up to date after one more client was forgotten and everything was evaluated."""
    record["forgotten"] = [*record["forgotten"], client]
    forgot = {label: Cost(**record["forget"][label]).then(cost) for label, cost in costs.items()}
    steps = system.scenario.tuning.steps * (record["clients"] - len(record["forgotten"]))
    record["retrain_steps"] += steps
    record["curve"].append(point(rows, forgot, system.storage(), record["retrain_steps"]))
    record["forget"] = {label: cost.as_facts() for label, cost in forgot.items()}
    record |= state(system)
    record["rebuilt_digest"] = dict.fromkeys(system.strategies)


def state(system: System) -> dict[str, Any]:
    """What a record says of the state as it stands: digests, bytes, and the numbers that strategies have chosen."""
    chosen = {
        label: {key: value for key, value in strategy.chosen.items() if isinstance(value, int | float)}
        for label, strategy in system.strategies.items()
    }
    return {"state_digest": system.digests(), "storage_bytes": system.storage(), "chosen": chosen}


def point(rows: list[dict[str, Any]], forgot: dict[str, Cost], storage: dict[str, int], retrain: int) -> dict[str, Any]:
    """One point of the curves: accuracies, cumulated steps and storage after some deletions; JSON."""
    deleted = rows[0]["deleted"] if rows else 0
    strategies = {}
    for label, cost in forgot.items():
        mine = [row for row in rows if row["strategy"] == label]
        strategies[label] = {
            "held_in": mean([row for row in mine if row["split"] == "held_in"]),
            "held_out": mean([row for row in mine if row["split"] != "unseen"]),
            "forgotten": mean([row for row in mine if row["split"] == "forgotten"]),
            "unseen": mean([row for row in mine if row["split"] == "unseen"]),
            "gradient_steps": cost.gradient_steps,
            "storage_bytes": storage[label],
        }
    return {"deleted": deleted, "retrain_steps": retrain, "strategies": strategies}


def summarize(run: Path, system: System, records: list[dict[str, Any]], seconds: float, ledger: Ledger) -> dict[str, Any]:
    """The summary of all seeds: means of numbers, one digest over the seeds' digests."""
    scenario = system.scenario
    first = records[0]
    accuracy = {label: [_accuracies(run, record, label) for record in records] for label in system.strategies}
    summary: dict[str, Any] = {
        "name": scenario.name,
        "scenario_digest": scenario.digest(),
        "metric": first["metric"],
        "clients": first["clients"],
        "unseen": first["unseen"],
        "data": first["data"],
        "requests": len(first["forgotten"]),
        "seeds": [record["seed"] for record in records],
        "seconds": round(seconds, 1),
        "parameters": first["parameters"],
        "environment": determinism.environment(system.settings.device),
        "ledger": {"records": ledger.records, "head": ledger.head},
        "strategies": {label: _strategy(system, label, records, accuracy[label]) for label in system.strategies},
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


def _unlearning(system: System, records: list[dict[str, Any]], fold: Callable[[list[float]], float]) -> dict[str, Any]:
    """What attacks have measured, folded over seeds; None where one seed has no value."""
    measured = {label: [record["unlearning"][label] for record in records] for label in system.strategies}
    return {
        label: {key: _over([values[key] for values in mine], fold) for key in mine[0]} for label, mine in measured.items()
    }


def _strategy(system: System, label: str, records: list[dict[str, Any]], accuracy: list[dict[str, Any]]) -> dict[str, Any]:
    strategy = system.strategies[label]
    states = [record["state_digest"][label] for record in records]
    rebuilt = [record["rebuilt_digest"][label] for record in records]
    spec = next(spec for spec in system.scenario.strategies if spec.label == label)

    def cost(key: str, phase: str) -> Any:
        value = statistics.fmean(record[phase][label][key] for record in records)
        return round(value, 3) if key == "seconds" else round(value)

    return {
        "strategy": spec.strategy,
        "exactness": strategy.exactness,
        "deletion": strategy.deletion,
        "tuning": strategy.rule,
        "parameters": spec.parameters.model_dump(mode="json", exclude={"label"}),
        "accuracy": {key: _over([a[key] for a in accuracy], statistics.fmean) for key in ACCURACIES},
        "gradient_steps": {phase: cost("gradient_steps", phase) for phase in ("learn", "forget")},
        "parallel_steps": {phase: cost("parallel_steps", phase) for phase in ("learn", "forget")},
        "evaluations": {phase: cost("evaluations", phase) for phase in ("learn", "forget")},
        "client_tunings": cost("client_tunings", "learn") + cost("client_tunings", "forget"),
        "client_tunings_forget": cost("client_tunings", "forget"),
        "seconds": {phase: cost("seconds", phase) for phase in ("learn", "forget")},
        "bytes_up": cost("bytes_up", "learn") + cost("bytes_up", "forget"),
        "bytes_down": cost("bytes_down", "learn") + cost("bytes_down", "forget"),
        "storage_before": _whole_mean(record["curve"][0]["strategies"][label]["storage_bytes"] for record in records),
        "storage_bytes": _whole_mean(record["storage_bytes"][label] for record in records),
        "chosen": [record["chosen"][label] for record in records],
        "state_digest": _one_digest(states),
        "rebuilt_digest": None if None in rebuilt else _one_digest(rebuilt),
        "bitwise_equal": None if None in rebuilt else states == rebuilt,
    }


def _accuracies(run: Path, record: dict[str, Any], label: str) -> dict[str, float | None]:
    """Before and after, by split; ``forgotten_before`` is of those who are forgotten by the end."""
    before, after = (record["curve"][index]["strategies"][label] for index in (0, -1))
    forgotten = set(record["forgotten"])
    rows = [row for row in read_rows(run, strategy=label, seed=record["seed"], deleted=0) if row["client"] in forgotten]
    return {
        "held_in_before": before["held_in"],
        "held_in_after": after["held_in"],
        "held_out_before": before["held_out"],
        "held_out_after": after["held_out"],
        "forgotten_before": mean(rows),
        "forgotten_after": after["forgotten"],
        "unseen_before": before["unseen"],
        "unseen_after": after["unseen"],
    }


def _curve(records: list[dict[str, Any]], label: str) -> list[dict[str, Any]]:
    curve = []
    for points in zip(*(record["curve"] for record in records), strict=True):
        mine = [p["strategies"][label] for p in points]
        accuracies = {key: _over([m[key] for m in mine], statistics.fmean) for key in ("held_in", "held_out", "forgotten")}
        counts = {key: _whole_mean(m[key] for m in mine) for key in ("gradient_steps", "storage_bytes")}
        curve.append({"deleted": points[0]["deleted"], **accuracies, **counts})
    return curve


def _over(values: list[float | None], fold: Callable[[list[float]], float]) -> float | None:
    present = [value for value in values if value is not None]
    return fold(present) if len(present) == len(values) else None


def _whole_mean(values: Any) -> int:
    return round(statistics.fmean(values))


def _one_digest(digests: list[str]) -> str:
    return digests[0] if len(digests) == 1 else digest.of_json(digests)


def write_rows(run: Path, rows: list[dict[str, Any]]) -> None:
    """Write ``metrics.parquet`` whole."""
    for row in rows:
        assert math.isfinite(row["value"])
    target = run / "metrics.parquet"
    partial = target.with_suffix(".part")
    pq.write_table(pa.Table.from_pylist(rows), partial)
    partial.replace(target)


def read_rows(run: Path, **equal: Any) -> list[dict[str, Any]]:
    """Rows of ``metrics.parquet`` with these values."""
    filters = [(key, "=", value) for key, value in equal.items()] or None
    rows: list[dict[str, Any]] = pq.read_table(run / "metrics.parquet", filters=filters).to_pylist()
    return rows


def record_path(run: Path, seed: int) -> Path:
    return run / "state" / str(seed) / "progress.json"


def read_records(run: Path, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    """Each seed's record; InputError if one is missing or damaged."""
    return [read_json(record_path(run, seed)) for seed in seeds]


def write_record(run: Path, record: dict[str, Any]) -> None:
    write_json(record_path(run, record["seed"]), record)
