"""The results of a study: a row for each point and strategy (``results.parquet``), and what it is about (``study.json``)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clients.exact.files import write_whole
from sim.life.saved import SUMMARY
from sim.life.system import read_json, write_json
from sim.report.study_results import RESULTS, STUDY, results_table
from sim.scenario.model import Scenario
from sim.study.claims import verdicts
from sim.study.sweep import Point, shown

POINTS = "points"
SCALAR = str | int | float | bool | None

Row = dict[str, Any]


def summary_of(folder: Path, point: Point) -> Path:
    """Where what a point has come to stands, once it is done."""
    return folder / POINTS / point.name / SUMMARY


def of_point(point: Point, summary: Mapping[str, Any]) -> list[Row]:
    """A row per strategy of one point: its place in the study, then what its summary says, as ``accuracy.held_in_after``,
    and the numbers that it has chosen and tells, as ``chosen.lambda`` and ``told.merge_seconds``."""
    place = {"point": point.name, "seed": point.seed, **{key: shown(value) for key, value in point.axes.items()}}
    about = {"members": summary["clients"], "requests": summary["requests"]}
    gaps = summary.get("unlearning", {})
    return [
        place
        | {"label": label}
        | about
        | flat(result)
        | {f"{of}.{key}": value for of in ("chosen", "told") for key, value in result[of][0].items()}
        | flat({"unlearning": gaps[label]} if label in gaps else {})
        for label, result in summary["strategies"].items()
    ]


def flat(values: Mapping[str, Any], before: str = "") -> Row:
    """Whatever is scalar, by the names that lead to it, with dots between them."""
    found: Row = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{key}.")
        elif isinstance(value, SCALAR):
            found[before + key] = value
    return found


def write(folder: Path, scenario: Scenario, points: Sequence[Point]) -> None:
    """Write both files anew, of all points that are done."""
    done = [(point, read_json(path)) for point in points if (path := summary_of(folder, point)).is_file()]
    rows = [row for point, summary in done for row in of_point(point, summary)]
    write_whole(folder / RESULTS, as_parquet(rows))
    write_json(folder / STUDY, about(scenario, len(points), [summary for _, summary in done], rows))


def about(scenario: Scenario, asked: int, told: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> dict[str, Any]:
    """The content of ``study.json``.

    Args:
        asked: how many points the study has.
        told: the summaries of those that are done.
        rows: theirs.
    """
    return {
        "name": scenario.name,
        "metric": told[0]["metric"] if told else None,
        "axes": {key: [shown(value) for value in values] for key, values in scenario.sweep.items()},
        "seeds": list(scenario.seeds),
        "strategies": list(dict.fromkeys(row["label"] for row in rows)),
        "points": {"done": len(told), "asked": asked},
        "seconds": round(sum(each["seconds"] for each in told), 1),
        "verdicts": verdicts(scenario.claims, scenario.sweep, rows),
    }


def as_parquet(rows: Sequence[Row]) -> bytes:
    """Rows as a parquet file; a column that holds whole numbers and others holds floats."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = pa.table({key: _column([row.get(key) for row in rows]) for key in columns})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _column(values: Sequence[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and kinds != {int}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if len(kinds) > 1:  # an axis of numbers and words
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values)


def read_rows(folder: Path) -> list[Row]:
    """The rows of ``results.parquet``; InputError if it is missing or damaged."""
    rows: list[Row] = results_table(folder).to_pylist()
    return rows
