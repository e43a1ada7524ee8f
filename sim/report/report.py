"""The report of one run or several: a table for the terminal, figures, and one HTML page that needs nothing else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import Environment, StrictUndefined
from pydantic import BaseModel, ValidationError
from rich import box
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from clients.errors import InputError
from clients.exact.files import write_whole
from sim.report import gap as report_unlearning
from sim.report.gap import Unlearning
from sim.report.notes import notes
from sim.report.page import PAGE
from sim.report.times import COLUMNS as WAITING
from sim.report.times import Backlog, Times, TimeToForget, compressed
from sim.report.times import cells as time_cells
from sim.terminal import NONE, human_bytes
from strategies.registry import FLOOR, PRIOR

if TYPE_CHECKING:
    from sim.report.figures import Series
    from sim.report.waiting import Waited

BEST = ("held_in", "held_out")  # columns in which the highest accuracy after the deletions is marked
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


class Phases(BaseModel):
    learn: float
    forget: float


class Accuracy(BaseModel):
    held_in_before: float | None
    held_in_after: float | None
    held_out_before: float | None
    held_out_after: float | None
    forgotten_before: float | None
    forgotten_after: float | None
    unseen_before: float | None = None
    unseen_after: float | None = None
    other_half_before: float | None = None
    other_half_after: float | None = None
    stayed_before: float | None = None


class Above(BaseModel):
    difference: float
    low: float
    high: float


class StrategyResult(BaseModel):
    strategy: str
    exactness: Literal["exact", "approximate"]
    deletion: str
    tuning: str | None
    parameters: dict[str, Any]
    accuracy: Accuracy
    gradient_steps: Phases
    parallel_steps: Phases
    client_tunings: int
    seconds: Phases
    bytes_up: int
    bytes_down: int
    storage_before: int
    storage_bytes: int
    state_digest: str
    rebuilt_digest: str | None
    bitwise_equal: bool | None
    failed: str | None = None
    above_prior: Above | None = None
    time_to_forget: TimeToForget | None = None
    backlog: Backlog | None = None
    utilisation: float | None = None


class Point(BaseModel):
    deleted: int
    held_in: float | None
    held_out: float | None
    gradient_steps: float
    day: float | None = None
    storage_bytes: float = 0.0


class RetrainPoint(BaseModel):
    deleted: int
    gradient_steps: float


class LedgerEnd(BaseModel):
    records: int
    head: str


class Parameters(BaseModel):
    total: int
    tunable: int


class Sides(BaseModel):
    halved: bool = False


class Summary(BaseModel):
    """What the report reads of ``summary.json``."""

    name: str
    scenario_digest: str
    metric: str
    clients: int
    data: list[str] = []
    requests: int
    seeds: list[int]
    seconds: float
    parameters: Parameters
    environment: dict[str, Any]
    ledger: LedgerEnd
    strategies: dict[str, StrategyResult]
    curve: dict[str, list[Point]]
    retrain: list[RetrainPoint]
    spread: dict[str, Accuracy] = {}
    unlearning: dict[str, Unlearning] = {}
    unlearning_spread: dict[str, Unlearning] = {}
    missing: dict[str, dict[str, dict[str, str]]] = {}
    gone: int = 0
    refused: int = 0
    days: float | None = None
    deadline: float | None = None
    compressed: float | None = None
    times: Times | None = None
    sides: Sides = Sides()

    @property
    def notes(self) -> list[str]:
        """Who is missing and why, whose data are gone, which strategies failed, and what settings were chosen on."""
        failed = {label: result.failed for label, result in self.strategies.items()}
        prior = next((label for label, result in self.strategies.items() if result.strategy == PRIOR), "")
        told = {label: r.above_prior for label, r in self.strategies.items() if r.above_prior and r.strategy != FLOOR}
        below = [label for label, above in told.items() if above.low <= 0]
        return notes(self.missing, self.gone, failed, self.sides.halved, below, prior)


@dataclass(frozen=True)
class Entry:
    """A strategy of a run, by the label that the report gives it."""

    label: str
    result: StrategyResult
    curve: list[Point]
    spread: Accuracy | None


def write_report(run: Path, extra: Sequence[Path] = ()) -> Path:
    """Write ``figures/`` and ``report.html`` into a run folder; with extra runs, compare the strategies of all.

    Raises:
        InputError: a summary is missing or damaged.
    """
    from sim.report import waiting
    from sim.report.figures import PALETTE, draw  # what draws is imported where something is drawn

    runs = dict(zip(_names([run, *extra]), [read_summary(folder) for folder in (run, *extra)], strict=True))
    entries = [entry for name, summary in runs.items() for entry in _entries(summary, f"{name}/" if extra else "")]
    metrics = sorted({summary.metric.replace("_", " ") for summary in runs.values()})
    retrain = _retrain(runs)
    series = [_series(entry) for entry in entries]
    figures = draw(series, retrain, " or ".join(metrics), run / "figures")
    figures |= waiting.draw(_waited(runs, entries, series), " or ".join(metrics), run / "figures")
    page = _template().render(
        runs=runs,
        entries=entries,
        columns=_columns(entries),
        numeric=NUMERIC,
        splits=SPLITS,
        rows=[{key: cells(entry)[key] for key in _columns(entries)} for entry in entries],
        best=_best(entries) if len(metrics) == 1 else {},
        metrics=metrics,
        figures=figures,
        palette=PALETTE,
        unlearning=_unlearning(runs, bool(extra)),
        unlearning_columns=report_unlearning.COLUMNS,
        waiting=_times(entries),
        waiting_columns=WAITING,
        compressed={name: compressed(summary.compressed, summary.days) for name, summary in runs.items()},
        verdicts=[_verdict(entry.result) for entry in entries],
    )
    target = run / "report.html"
    write_whole(target, page.encode())
    return target


def table(summary: dict[str, Any], width: int = WIDE) -> Table:
    """The results of a run for a terminal of ``width`` columns; ``summary`` is the content of ``summary.json``."""
    checked = Summary.model_validate(summary)
    title = f"{checked.name}: {checked.requests} of {checked.clients} clients deleted, {checked.metric.replace('_', ' ')}"
    result = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    entries = _entries(checked, "")
    needed = {"forgotten": WIDE, "other_half": WIDER}
    columns = {key: heading for key, heading in _columns(entries).items() if width >= needed.get(key, 0)}
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


def read_summary(run: Path) -> Summary:
    """The summary of a run folder, checked.

    Raises:
        InputError: it is missing or damaged.
    """
    path = run / "summary.json"
    remedy = "give the folder of a finished run, or run its scenario.yaml again"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        summary = Summary.model_validate(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InputError(f"{path}: damaged at {where} ({first['msg']}); {remedy}") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged, not JSON ({error}); {remedy}") from error
    missing = summary.strategies.keys() - summary.curve.keys()
    if missing:
        raise InputError(f"{path}: damaged at curve (nothing for {', '.join(sorted(missing))}); {remedy}")
    return summary


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
        "bitwise": _verdict(result),
    }


def _columns(entries: Sequence[Entry]) -> dict[str, str]:
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


def _verdict(result: StrategyResult) -> str:
    """An approximate strategy never claimed to be equal, so a difference is no alarm there."""
    if result.bitwise_equal is None:
        return "not run"
    return "equal" if result.bitwise_equal else "DIFFERENT" if result.exactness == "exact" else "approximate"


def _names(folders: Sequence[Path]) -> list[str]:
    """A name for each run: its folder's, numbered where two are the same."""
    plain = [folder.resolve().name for folder in folders]
    return [name if name not in plain[:i] else f"{name} ({plain[:i].count(name) + 1})" for i, name in enumerate(plain)]


def _entries(summary: Summary, prefix: str) -> list[Entry]:
    return [
        Entry(prefix + label, result, summary.curve[label], summary.spread.get(label))
        for label, result in summary.strategies.items()
    ]


def _unlearning(runs: Mapping[str, Summary], named: bool) -> list[dict[str, str]]:
    """Rows of the table of the gap, of all runs that measured it."""
    return [
        report_unlearning.cells(f"{name}/{label}" if named else label, mine, summary.unlearning_spread.get(label))
        for name, summary in runs.items()
        for label, mine in summary.unlearning.items()
    ]


def _series(entry: Entry) -> "Series":
    from sim.report.figures import Series

    return Series(
        label=entry.label,
        exact=entry.result.exactness == "exact",
        deleted=[point.deleted for point in entry.curve],
        held_in=[point.held_in for point in entry.curve],
        held_out=[point.held_out for point in entry.curve],
        steps=[point.gradient_steps for point in entry.curve],
        storage=entry.result.storage_bytes,
        after=entry.result.accuracy.held_in_after,
        spread=entry.spread.held_in_after if entry.spread else None,
    )


def _waited(runs: Mapping[str, Summary], entries: Sequence[Entry], series: Sequence["Series"]) -> list["Waited"]:
    """What figures over time show, of the runs that tell times."""
    from sim.report.figures import look_of
    from sim.report.waiting import Waited

    of = [(summary, label) for summary in runs.values() for label in summary.strategies]
    return [
        Waited(
            label=entry.label,
            look=look_of(number, series[number]),
            arrival=summary.times.arrival,
            published=summary.times.published[label],
            day=[point.day for point in entry.curve if point.day is not None],
            held_in=[point.held_in for point in entry.curve if point.day is not None],
            storage=[point.storage_bytes for point in entry.curve if point.day is not None],
            deadline=summary.deadline,
        )
        for number, (entry, (summary, label)) in enumerate(zip(entries, of, strict=True))
        if summary.times is not None
    ]


def _times(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """Rows of the table of times to forget."""
    told = [(entry.label, entry.result, entry.result.time_to_forget) for entry in entries]
    return [
        time_cells(label, time, result.backlog, result.utilisation)
        for label, result, time in told
        if time is not None and time.median is not None
    ]


def _retrain(runs: Mapping[str, Summary]) -> dict[str, list[tuple[int, float]]]:
    """The price of retraining by the name to show: one line, unless the runs differ in it."""
    from sim.report.figures import RETRAIN

    lines = {name: [(p.deleted, p.gradient_steps) for p in summary.retrain] for name, summary in runs.items()}
    first = next(iter(lines.values()))
    if all(line == first for line in lines.values()):
        return {RETRAIN: first}
    return {f"{name}/{RETRAIN}": line for name, line in lines.items()}


def _best(entries: Sequence[Entry]) -> dict[str, set[str]]:
    """Column to the labels with the highest value after the deletions, as far as the table shows digits."""
    best = {}
    for split in BEST:
        after = {entry.label: getattr(entry.result.accuracy, f"{split}_after") for entry in entries}
        shown = {label: f"{value:.3f}" for label, value in after.items() if value is not None}
        if len(set(shown.values())) > 1:
            best[split] = {label for label, value in shown.items() if value == max(shown.values())}
    return best


def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["bytes"] = human_bytes
    return environment.from_string(PAGE)
