"""What a seed has come to, as JSON: enough to go on from, and to sum up. And its other files: population and evaluations."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clients.errors import InputError
from sim.life.cost import Cost
from sim.life.ledger import Ledger
from sim.life.system import System
from sim.stream.requests import Request
from strategies.state.store import Store

PROGRESS, POPULATION, ROWS = "progress.json", "population.json", "metrics.parquet"

Record = dict[str, Any]
PHASES = ("learn", "forget", "join")
BEFORE: Record = {"failed": {}, "refused": 0, "clock": {}, "released": [], "asked": None, "told": {}}
"""What is not in the records of older runs."""


def new(system: System, told: Sequence[str], asked: Sequence[Request] = ()) -> Record:
    """The record of a seed that has just begun.

    ``joined`` are all who ever joined, ``forgotten`` those who left and did not come back, ``missing`` who could not be
    tuned, by client and rule the error; ``failed`` says by label why a strategy's numbers were not finite, the first time;
    ``gone`` are those whose data were not there at the last evaluation; ``waiting`` are requests of clients who cannot be
    reached. ``played``: releases of the stream, ``commands``: requests by command; ``events``, ``deleted`` and ``joins``:
    requests, deletions carried out, and later joins; ``refused``: requests that were not. ``clock``: by label the day on
    which the last release was published; ``released``: of every release its day, the days on which its deletions were asked
    for, and by label those of start, done and published. ``owes`` is what has to follow before the next event, ``proved``
    the audits that were made of the state as it stands.

    Args:
        told: lines for the user on how the model takes the data.
        asked: the stream. It is kept where it cannot be drawn again once data are gone, or a trace is.
    """
    spec = system.scenario.stream
    read = spec.order.reads_data or spec.arrivals.name == "trace"
    nothing = {label: facts(Cost()) for label in system.strategies}
    return {
        "seed": system.seed,
        "stage": "learning",
        "clients": 0,
        "unseen": len(system.population.unseen),
        "data": [*system.population.notes, *told],
        "metric": system.manifest.metric,
        "sides": {side: getattr(system.population.sides, side) for side in ("reported", "chosen_on", "halved")},
        "parameters": {"total": system.parameters, "tunable": next(iter(system.kept.values())).size},
        "joined": list(system.population.joining),
        "forgotten": [],
        "missing": {},
        "failed": {},
        "gone": [],
        "waiting": [],
        "asked": [[each.client, each.day, each.kind, each.rows] for each in asked] if read else None,
        "day": 0.0,
        "played": 0,
        "commands": 0,
        "events": 0,
        "deleted": 0,
        "joins": 0,
        "refused": 0,
        "clock": {},
        "released": [],
        "owes": [],
        "proved": [],
        **{phase: dict(nothing) for phase in PHASES},
        "curve": [],
        "retrain_steps": 0,
        "seconds": 0.0,
        "state_digest": {},
        "storage_bytes": {},
        "chosen": {},
        "told": {},
        "rebuilt_digest": dict.fromkeys(system.strategies),
    }


def facts(cost: Cost) -> dict[str, Any]:
    """A cost as a record holds it: nothing is rounded, since more is added to it."""
    return cost.counted


def state(system: System) -> Record:
    """What a record says of the state as it stands: digests, bytes, and the numbers that strategies have chosen and tell."""
    chosen = {label: _numbers(strategy.chosen) for label, strategy in system.strategies.items()}
    told = {label: _numbers(strategy.told) for label, strategy in system.strategies.items()}
    return {"state_digest": system.digests(), "storage_bytes": system.storage(), "chosen": chosen, "told": told}


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if isinstance(value, int | float)}


def read(store: Store, name: str) -> Any:
    """A JSON file of a store; InputError if it is missing or damaged."""
    try:
        return json.loads(store.read(name))
    except ValueError as error:
        raise InputError(f"{store.path(name)}: cannot be read as JSON ({error})") from error


def rows_as_bytes(rows: list[dict[str, Any]]) -> bytes:
    """Evaluations as a parquet file."""
    for row in rows:
        assert row["value"] is None or math.isfinite(row["value"])
    schema = pa.schema(
        [
            ("strategy", pa.string()),
            *((name, pa.int64()) for name in ("seed", "tasks", "events", "deleted")),
            *((name, pa.string()) for name in ("client", "split", "metric")),
            ("value", pa.float64()),
        ]
    )
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read_rows(store: Store) -> list[dict[str, Any]]:
    """Evaluations, as they were written; InputError if their file is damaged."""
    try:
        rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(store.read(ROWS))).to_pylist()
        return rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{store.path(ROWS)}: cannot be read ({error})") from error


def check(store: Store, system: System, record: Record, ledger: Ledger) -> None:
    """That state, record and ledger speak of the same.

    Raises:
        InputError: they do not.
    """
    if not record["state_digest"]:
        return
    for label, told in ledger.published[system.seed]["strategies"].items():
        if told["state_digest"] != record["state_digest"][label]:
            raise InputError(
                f"{ledger.path}: its last release of {label} is not the state in {store.path(PROGRESS)}; one was changed"
            )
    for label, found in system.digests().items():
        if found != record["state_digest"][label]:
            raise InputError(
                f"{store.path('')}: the saved state of {label} is damaged: its digest is {found[:16]}..., "
                f"the run recorded {record['state_digest'][label][:16]}..."
            )
