"""What a study has come to: its rows, and what the report makes of them: outcomes at a point, curves along an axis."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from clients.errors import InputError
from sim.report.outcome import Outcome
from sim.report.summary import checked
from strategies.registry import CEILING

STUDY, RESULTS = "study.json", "results.parquet"
NEEDED = (
    "point", "seed", "label", "strategy", "exactness", "deletion", "accuracy.held_in_after", "storage_bytes",
    "gradient_steps.learn", "gradient_steps.forget", "seconds.learn", "seconds.forget", "bitwise_equal", "requests",
)  # fmt: skip
"""Columns without which there is no report."""
REMEDY = "give the folder of a study, or go on with it: unmerge run --resume STUDY"

Row = Mapping[str, Any]
Value = float | str
Place = tuple[Value, ...]
"""The values of a point on all axes, in their order."""


class Verdict(BaseModel):
    claim: str
    source: str = ""
    holds: bool | None
    why: str = ""
    published: str = ""


class Points(BaseModel):
    done: int
    asked: int


class About(BaseModel):
    """What the report reads of ``study.json``."""

    name: str
    metric: str | None
    axes: dict[str, list[Any]]
    seeds: list[int]
    points: Points
    seconds: float | None = None
    verdicts: list[Verdict] = []


@dataclass(frozen=True)
class Study:
    """A study as it stands: ``rows`` are those of ``results.parquet``, one per point, seed and label, along the axes."""

    about: About
    rows: Sequence[Row]

    @property
    def axes(self) -> list[str]:
        return list(self.about.axes)

    @property
    def metric(self) -> str:
        """What accuracy means; nothing is known of it before a point is done."""
        return (self.about.metric or "").replace("_", " ")

    def place(self, row: Row) -> Place:
        """Where a row stands on the axes."""
        return tuple(row[axis] for axis in self.axes)

    @property
    def places(self) -> list[Place]:
        """All places that have rows, in the order of the axes' values."""
        return sorted({self.place(row) for row in self.rows}, key=lambda place: [_order(value) for value in place])

    @property
    def strategies(self) -> dict[str, str]:
        """Label to the name of its strategy, in the order in which they first stand."""
        return {row["label"]: row["strategy"] for row in self.rows}

    def at(self, place: Place) -> list[Row]:
        return [row for row in self.rows if self.place(row) == place]


def read_study(folder: Path) -> Study:
    """A study folder's results.

    Raises:
        InputError: a file is missing or damaged, a column is missing, or no point is done.
    """
    about, table = checked(folder / STUDY, About, REMEDY), results_table(folder)
    if not table.num_rows:
        raise InputError(f"{folder / RESULTS}: no point is done yet; {REMEDY}")
    if missing := [name for name in (*NEEDED, *about.axes) if name not in table.column_names]:
        raise InputError(f"{folder / RESULTS}: has no column {', '.join(missing)}; {REMEDY}")
    rows = [{key: _known(value) for key, value in row.items()} for row in table.to_pylist()]
    return Study(about, sorted(rows, key=lambda row: ([_order(row[axis]) for axis in about.axes], row["seed"])))


def results_table(folder: Path) -> Any:
    """``results.parquet`` of a study, as a ``pyarrow.Table``; InputError if it is missing or damaged."""
    path = folder / RESULTS
    try:
        return pq.read_table(pa.BufferReader(path.read_bytes()))
    except pa.ArrowException as error:
        raise InputError(f"{path}: cannot be read as parquet ({error}); {REMEDY}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {REMEDY}") from error


def outcomes_at(rows: Sequence[Row]) -> list[Outcome]:
    """The outcomes of a point: means over its seeds; bars from the least to the most."""
    return [_outcome(label, mine) for label, mine in by_label(rows).items()]


def by_label(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["label"], []).append(row)
    return found


def accuracy(row: Row) -> float | None:
    return row["accuracy.held_in_after"]


def per_deletion(row: Row) -> float | None:
    """Gradient steps per deletion; None where nobody was deleted."""
    return row["gradient_steps.forget"] / row["requests"] if row["requests"] else None


def client_seconds(row: Row) -> float | None:
    """Seconds of client work, of learning and of deletions."""
    return row["seconds.learn"] + row["seconds.forget"]


def gaps(rows: Sequence[Row]) -> Callable[[Row], float | None]:
    """How far a row's accuracy is below that of clients who share nothing, at the same point and seed."""
    ceiling: dict[tuple[str, int], float | None] = {}
    for row in rows:
        if row["strategy"] == CEILING:
            ceiling.setdefault((row["point"], row["seed"]), accuracy(row))

    def gap(row: Row) -> float | None:
        above, mine = ceiling.get((row["point"], row["seed"])), accuracy(row)
        return None if above is None or mine is None else above - mine

    return gap


def folded(values: Sequence[float | None]) -> tuple[float | None, float | None, float | None]:
    """Mean, least and most over seeds; None where one has none."""
    known = [value for value in values if value is not None]
    return (statistics.fmean(known), min(known), max(known)) if known and len(known) == len(values) else (None, None, None)


def is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _outcome(label: str, rows: Sequence[Row]) -> Outcome:
    mean, low, high = folded([accuracy(row) for row in rows])
    equal = [row["bitwise_equal"] for row in rows]
    above = [row.get("above_prior.low") for row in rows]
    return Outcome(
        label=label,
        strategy=rows[0]["strategy"],
        exact=rows[0]["exactness"] == "exact",
        accuracy=mean,
        storage=statistics.fmean(row["storage_bytes"] for row in rows),
        learn=statistics.fmean(row["gradient_steps.learn"] for row in rows),
        per_deletion=folded([per_deletion(row) for row in rows])[0],
        bounds=(low, high) if len(rows) > 1 and low is not None and high is not None else None,
        above=None if None in above else max(value for value in above if value is not None),
        equal=None if None in equal else all(equal),
    )


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _order(value: Value) -> tuple[bool, float, str]:
    return (False, float(value), "") if is_number(value) else (True, 0.0, str(value))
