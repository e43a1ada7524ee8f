"""The table of results: for the terminal, and as rows of the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from sim.report.summary import Accuracy, Point, StrategyResult, Summary
from sim.terminal import NONE, human_bytes

SPLITS = ("held_in", "other_half", "held_out", "forgotten", "unseen")
OPTIONAL = ("other_half", "unseen")  # columns that are shown where there is something in them
NUMERIC = (*SPLITS, "steps", "storage")
WIDE = 105  # columns of a terminal that holds the whole table; a narrower one goes without `forgotten`
WIDER = 145  # with `other_half`
COLUMNS = {
    "strategy": "strategy",
    "exact": "exact?",
    "deletion": "deletion\nrule",
    "held_in": "held-in\nbefore → after",
    "other_half": "held-in, other half\nbefore → after",
    "held_out": "held-out\nbefore → after",
    "forgotten": "forgotten\nbefore → after",
    "unseen": "unseen\nbefore → after",
    "steps": "gradient steps\nlearn / forget",
    "storage": "storage",
    "bitwise": "bitwise\ncheck",
}


@dataclass(frozen=True)
class Entry:
    """A strategy of a run, by the label that the report gives it."""

    label: str
    result: StrategyResult
    curve: list[Point]
    spread: Accuracy | None


def table(summary: dict[str, Any], width: int = WIDE) -> Table:
    """The results of a run for a terminal of ``width`` columns; ``summary`` is the content of ``summary.json``."""
    checked = Summary.model_validate(summary)
    title = f"{checked.name}: {checked.requests} of {checked.clients} clients deleted, {checked.metric.replace('_', ' ')}"
    result = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    entries = entries_of(checked, "")
    needed = {"forgotten": WIDE, "other_half": WIDER}
    columns = {key: heading for key, heading in columns_of(entries).items() if width >= needed.get(key, 0)}
    for key, heading in columns.items():
        # Folded, never cut off: a label or a number without its end would mislead.
        wide = min(24, max(map(len, checked.strategies), default=0)) if key == "strategy" else None
        side: JustifyMethod = "right" if key in NUMERIC else "left"
        result.add_column(Text(heading), justify=side, overflow="fold", min_width=7 if key == "bitwise" else wide)
    for entry in entries:
        # Text, because rich would take brackets in a label for markup.
        row = cells(entry)
        result.add_row(*(Text(row[key]) for key in columns))
    return result


def cells(entry: Entry) -> dict[str, str]:
    """The row of a strategy, by column."""
    result, spread = entry.result, entry.spread
    steps = result.gradient_steps
    return {
        "strategy": entry.label,
        "exact": "yes" if result.exactness == "exact" else "no",
        "deletion": result.deletion,
        **{split: _change(result.accuracy, spread, split) for split in SPLITS},
        "steps": f"{steps.learn:,.0f} / {steps.forget:,.0f}",
        "storage": human_bytes(result.storage_bytes),
        "bitwise": verdict(result.exactness, result.bitwise_equal),
    }


def columns_of(entries: Sequence[Entry]) -> dict[str, str]:
    """Headings by column; without ``unseen`` where everybody joins, and ``other_half`` where it needs no telling."""

    def told(key: str) -> bool:
        return any(getattr(entry.result.accuracy, f"{key}_before") is not None for entry in entries)

    return {key: heading for key, heading in COLUMNS.items() if key not in OPTIONAL or told(key)}


def _change(accuracy: Accuracy, spread: Accuracy | None, split: str) -> str:
    sides = (f"{split}_before", f"{split}_after")
    return " → ".join(_value(getattr(accuracy, side), getattr(spread, side, None)) for side in sides)


def _value(value: float | None, spread: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.3f}" if spread is None else f"{value:.3f}\N{NO-BREAK SPACE}±{spread:.3f}"


def verdict(exactness: str, equal: bool | None) -> str:
    """An approximate strategy never claimed to be equal, so a difference is no alarm there."""
    if equal is None:
        return "not run"
    return "equal" if equal else "DIFFERENT" if exactness == "exact" else "approximate"


def entries_of(summary: Summary, prefix: str) -> list[Entry]:
    """The strategies of a run, under its labels behind a prefix."""
    return [
        Entry(prefix + label, result, summary.curve[label], summary.spread.get(label))
        for label, result in summary.strategies.items()
    ]


def sort_keys(entry: Entry) -> dict[str, float | str | None]:
    """By column the value that a row is sorted by, where that is not its text: what is there after the deletions."""
    result = entry.result
    after = {split: getattr(result.accuracy, f"{split}_after") for split in SPLITS}
    return {**after, "steps": result.gradient_steps.forget, "storage": float(result.storage_bytes)}
