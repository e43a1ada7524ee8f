"""A study as a table for the terminal: a row for each strategy, a column for each point, means over the seeds."""

import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from sim.study.results import Row
from sim.terminal import NONE

FIRST = ("accuracy.held_in_after", "accuracy.held_out_after")
"""What is shown: held-in after the deletions; where nobody is left to be held in, held-out."""
COLUMN = 7
"""Columns of a terminal that a point takes."""


def tables(content: dict[str, Any], rows: Sequence[Row], width: int) -> list[Table]:
    """One table, or for a grid of several axes one for each combination of all but the longest axis.

    Args:
        content: of ``study.json``.
    """
    axes: dict[str, list[Any]] = content["axes"]
    across = max(axes, key=lambda key: len(axes[key]))
    others = [key for key in axes if key != across]
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in others), []).append(row)
    return [_table(content, across, dict(zip(others, at, strict=True)), mine, width) for at, mine in found.items()]


def _table(content: dict[str, Any], across: str, at: dict[str, Any], rows: Sequence[Row], width: int) -> Table:
    seeds, metric, name = len(content["seeds"]), (content["metric"] or "").replace("_", " "), content["name"]
    where = "".join(f", {key} = {value}" for key, value in at.items())
    title = f"{name}{where}: {metric} held in, after the deletions{f', mean of {seeds} seeds' * (seeds > 1)}"
    made = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    made.add_column(Text(across), overflow="fold")
    values = content["axes"][across]
    shown = values[-max(1, (width - 22) // COLUMN) :]
    for value in shown:
        made.add_column(Text(str(value)), justify="right", overflow="fold")
    for label in content["strategies"]:
        mine = [row for row in rows if row["label"] == label]
        made.add_row(Text(label), *(Text(_cell([row for row in mine if row[across] == value])) for value in shown))
    return made


def _cell(rows: Sequence[Row]) -> str:
    found = [next((row[key] for key in FIRST if row.get(key) is not None), None) for row in rows]
    values = [value for value in found if value is not None]
    return f"{math.fsum(values) / len(values):.3f}" if values else NONE
