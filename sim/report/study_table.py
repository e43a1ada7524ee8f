"""The table of all points of a study: a row per point, seed and strategy."""

from collections.abc import Callable
from typing import Any, NamedTuple

from sim.report.study_results import Row, Study, Value, accuracy, client_seconds, gaps, is_number, per_deletion
from sim.report.table import verdict
from sim.terminal import NONE, human_bytes


class Column(NamedTuple):
    """A column of the table of all points: its heading, what stands in a row, and what the row is sorted by."""

    heading: str
    cell: Callable[[Row], str]
    key: Callable[[Row], Any]
    number: bool


def columns_of(study: Study) -> dict[str, Column]:
    """The columns, without those in which nothing would stand."""
    gap = gaps(study.rows)
    axes = {axis: _plain(axis.replace(".", ".\u200b"), axis, study) for axis in study.axes}
    seed = {"seed": Column("seed", lambda row: str(row["seed"]), lambda row: row["seed"], True)}
    deleted = any(row["requests"] for row in study.rows)
    found = {
        "strategy": _words("strategy", lambda row: row["label"]),
        **axes,
        **(seed if len(study.about.seeds) > 1 else {}),
        "exact": _words("exact?", lambda row: "yes" if row["exactness"] == "exact" else "no"),
        "deletion": _words("deletion\nrule", lambda row: row["deletion"]),
        "accuracy": _number("held-in\nafter", accuracy, "{:.3f}"),
        "gap": _number("gap to\nlocal", gap, "{:+.3f}"),
        "unlearning": _number("gap to\nretraining", lambda row: row.get("unlearning.gap"), "{:.3f}"),
        "storage": _number("storage", lambda row: row["storage_bytes"], human_bytes),
        "learn": _number("steps\nof learning", lambda row: row["gradient_steps.learn"], "{:,.0f}"),
        "forget": _number("steps per\ndeletion", per_deletion, "{:,.4g}"),
        "seconds": _number("client\nseconds", client_seconds, "{:,.1f}"),
        "bitwise": _words("bitwise\ncheck", lambda row: verdict(row["exactness"], row["bitwise_equal"])),
    }
    empty = {key for key in ("gap", "unlearning") if all(found[key].key(row) is None for row in study.rows)}
    empty |= set() if deleted else {"forget"}
    return {key: column for key, column in found.items() if key not in empty}


def _plain(heading: str, axis: str, study: Study) -> Column:
    number = all(is_number(row[axis]) for row in study.rows)
    return Column(heading, lambda row: text_of(row[axis]), lambda row: row[axis], number)


def _words(heading: str, of: Callable[[Row], str]) -> Column:
    return Column(heading, of, of, False)


def _number(heading: str, of: Callable[[Row], float | None], shown: str | Callable[[float], str]) -> Column:
    def cell(row: Row) -> str:
        value = of(row)
        return NONE if value is None else shown.format(value) if isinstance(shown, str) else shown(value)

    return Column(heading, cell, of, True)


def chosen(study: Study) -> list[tuple[str, str]]:
    """Columns by whose values the table is filtered, and what they are called there."""
    axes = [(axis, axis.rpartition(".")[2].capitalize()) for axis in study.axes]
    return [("strategy", "Strategy"), ("exact", "Exact"), *axes]


def choices(study: Study, column: Column) -> list[str]:
    """What stands in a column, each once."""
    return list(dict.fromkeys(column.cell(row) for row in study.rows))


def text_of(value: Value) -> str:
    """A value on an axis, as it is shown."""
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if is_number(value) else str(value)
