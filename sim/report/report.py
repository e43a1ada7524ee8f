"""The report of one run or several: figures, and one HTML page that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clients.exact.files import write_whole
from sim.report import gap as report_unlearning
from sim.report.claims_in_words import sentences
from sim.report.outcome import outcomes_of
from sim.report.page import PAGE
from sim.report.seeds import bounds_of
from sim.report.shell import command, rendered
from sim.report.style import Style, style_of
from sim.report.summary import Summary, read_summary
from sim.report.table import NUMERIC, SPLITS, Entry, cells, columns_of, entries_of, sort_keys, verdict
from sim.report.times import COLUMNS as WAITING
from sim.report.times import cells as time_cells
from sim.report.times import compressed

if TYPE_CHECKING:
    from sim.report.drawing.run import Bounds, Series
    from sim.report.drawing.waiting import Waited

BEST = ("held_in", "held_out")  # columns in which the highest accuracy after the deletions is marked


def write_report(run: Path, extra: Sequence[Path] = ()) -> Path:
    """Write ``figures/`` and ``report.html`` into a run folder; with extra runs, compare the strategies of all.

    Raises:
        InputError: a summary is missing or damaged.
    """
    from sim.report.drawing import run as drawn  # what draws is imported where something is drawn
    from sim.report.drawing import waiting

    folders = [run, *extra]
    runs = dict(zip(_names(folders), [read_summary(folder) for folder in folders], strict=True))
    prefixes = {name: f"{name}/" if extra else "" for name in runs}
    entries = [entry for name, summary in runs.items() for entry in entries_of(summary, prefixes[name])]
    outcomes = {name: outcomes_of(summary, prefixes[name]) for name, summary in runs.items()}
    every = [each for some in outcomes.values() for each in some]
    styles = style_of({each.label: each.strategy for each in every})
    metrics = sorted({summary.metric.replace("_", " ") for summary in runs.values()})
    bounds = {
        prefixes[name] + label: found
        for folder, (name, summary) in zip(folders, runs.items(), strict=True)
        for label, found in bounds_of(folder, summary).items()
    }
    series = _series(entries, styles, bounds)
    figures = drawn.draw(series, every, styles, _retrain(runs), " or ".join(metrics), run / "figures")
    figures |= waiting.draw(_waited(runs, series), " or ".join(metrics), run / "figures")
    page = rendered(
        PAGE,
        runs=runs,
        entries=entries,
        columns=columns_of(entries),
        numeric=NUMERIC,
        splits=SPLITS,
        rows=[{key: cells(entry)[key] for key in columns_of(entries)} for entry in entries],
        keys=[sort_keys(entry) for entry in entries],
        best=_best(entries) if len(metrics) == 1 else {},
        metrics=metrics,
        figures=figures,
        bands=bool(bounds),
        words={name: sentences(outcomes_of(summary)) for name, summary in runs.items()},
        command=command("report", *runs),
        unlearning=_unlearning(runs, bool(extra)),
        unlearning_columns=report_unlearning.COLUMNS,
        waiting=_times(entries),
        waiting_columns=WAITING,
        compressed={name: compressed(summary.compressed, summary.days) for name, summary in runs.items()},
        verdicts=[verdict(entry.result.exactness, entry.result.bitwise_equal) for entry in entries],
    )
    target = run / "report.html"
    write_whole(target, page.encode())
    return target


def _names(folders: Sequence[Path]) -> list[str]:
    """A name for each run: its folder's, numbered where two are the same."""
    plain = [folder.resolve().name for folder in folders]
    return [name if name not in plain[:i] else f"{name} ({plain[:i].count(name) + 1})" for i, name in enumerate(plain)]


def _unlearning(runs: Mapping[str, Summary], named: bool) -> list[dict[str, str]]:
    """Rows of the table of the gap, of all runs that measured it."""
    return [
        report_unlearning.cells(f"{name}/{label}" if named else label, mine, summary.unlearning_spread.get(label))
        for name, summary in runs.items()
        for label, mine in summary.unlearning.items()
    ]


def _series(
    entries: Sequence[Entry], styles: Mapping[str, Style], bounds: Mapping[str, Mapping[str, "Bounds"]]
) -> list["Series"]:
    from sim.report.drawing.canvas import look_of
    from sim.report.drawing.run import Series

    return [
        Series(
            label=entry.label,
            look=look_of(styles[entry.label], entry.result.exactness == "exact"),
            deleted=[point.deleted for point in entry.curve],
            held_in=[point.held_in for point in entry.curve],
            held_out=[point.held_out for point in entry.curve],
            steps=[point.gradient_steps for point in entry.curve],
            bounds=bounds.get(entry.label, {}),
        )
        for entry in entries
    ]


def _waited(runs: Mapping[str, Summary], series: Sequence["Series"]) -> list["Waited"]:
    """What figures over time show, of the runs that tell times."""
    from sim.report.drawing.waiting import Waited

    of = [(summary, label) for summary in runs.values() for label in summary.strategies]
    return [
        Waited(
            label=mine.label,
            look=mine.look,
            arrival=summary.times.arrival,
            published=summary.times.published[label],
            day=[point.day for point in summary.curve[label] if point.day is not None],
            held_in=[point.held_in for point in summary.curve[label] if point.day is not None],
            storage=[point.storage_bytes for point in summary.curve[label] if point.day is not None],
            deadline=summary.deadline,
        )
        for mine, (summary, label) in zip(series, of, strict=True)
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
    from sim.report.drawing.run import RETRAIN

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
