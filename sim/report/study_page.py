"""The report of a study: figures along every axis and at every point, and one HTML page that needs nothing else."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import matplotlib

from clients.exact.files import write_whole
from sim.report.claims_in_words import along, held, sentences
from sim.report.drawing.canvas import RC, look_of, written
from sim.report.drawing.pareto import pareto_figure
from sim.report.drawing.study import Curve, Panel, Scale, along_figure, is_logarithmic
from sim.report.shell import command, rendered
from sim.report.study_results import (
    Place,
    Row,
    Study,
    Value,
    accuracy,
    by_label,
    client_seconds,
    folded,
    gaps,
    is_number,
    outcomes_at,
    per_deletion,
    read_study,
)  # fmt: skip
from sim.report.study_table import choices, chosen, columns_of, text_of
from sim.report.study_template import STUDY
from sim.report.style import style_of

DRAWN = 6
"""So many combinations of the other axes' values are drawn along an axis; the table has all."""
POINTS = 24
"""So many points have a Pareto view."""
RINGS = (
    "Up and to the left is better. A ring marks who is dominated by no other in accuracy, storage and steps per deletion "
    "together; an approximate strategy dominates no exact one."
)


class Drawn(NamedTuple):
    """A figure of the page: what it is called, its inline SVG, what it is for those who do not see it, and its caption."""

    name: str
    svg: str
    about: str
    kind: str
    caption: str


class Group(NamedTuple):
    """Figures that belong together: along one axis, at fixed values of the others; or of one point."""

    title: str
    figures: list[Drawn]


class Measure(NamedTuple):
    """What a panel along an axis shows."""

    title: str
    ylabel: str
    scale: Scale
    of: Callable[[Row], float | None]
    caption: str


Panels = Mapping[str, Sequence[Measure]]
"""Measures that stand side by side, by the figure's kind."""


def write_study_report(folder: Path) -> Path:
    """Write ``figures/`` and ``report.html`` into a study folder.

    Raises:
        InputError: its results are missing or damaged, or there are none yet.
    """
    study = read_study(folder)
    with matplotlib.rc_context(RC):
        panels = _panels(study)
        groups = {axis: _along(study, axis, panels, folder / "figures") for axis in study.axes}
        pareto = [_pareto(study, place, number, folder / "figures") for number, place in enumerate(study.places[:POINTS], 1)]
    columns = columns_of(study)
    name = folder.resolve().name
    page = rendered(
        STUDY,
        about=study.about,
        folder=name,
        several=len(study.about.seeds) > 1,
        metric=study.metric,
        words=words(study),
        strategies=list(study.strategies),
        groups=groups,
        pareto=pareto,
        points=len(study.places),
        drawn_most=DRAWN,
        columns=columns,
        rows=[{key: column.cell(row) for key, column in columns.items()} for row in study.rows],
        keys=[{key: column.key(row) for key, column in columns.items()} for row in study.rows],
        links=[_link(folder, row) for row in study.rows],
        runs=[row["point"] for row in study.rows],
        choices={heading: (list(columns).index(key), choices(study, columns[key])) for key, heading in chosen(study)},
        command=command("report", name),
    )
    target = folder / "report.html"
    write_whole(target, page.encode())
    return target


def words(study: Study) -> dict[str, list[str]]:
    """Sentences by heading: on the claims, along each axis of numbers, and at its end."""
    found = {"": held([verdict.holds for verdict in study.about.verdicts])}
    for axis in study.axes:
        for others, places in _combinations(study, axis)[:1]:
            points = [(place[study.axes.index(axis)], outcomes_at(study.at(place))) for place in places]
            numbered = [(float(value), outcomes) for value, outcomes in points if is_number(value)]
            if len(numbered) > 1 and len(numbered) == len(points):
                name, beside = axis.rpartition(".")[2], f" ({others})" if others else ""
                found[f"Along {name}{beside}"] = along(name, numbered)
                found[f"At {name} {text_of(points[-1][0])}{beside}"] = sentences(numbered[-1][1])
    if len(found) == 1:  # there is no axis of numbers: every point speaks for itself
        found |= {_title(study, place): sentences(outcomes_at(study.at(place))) for place in study.places[:DRAWN]}
    return {heading: lines for heading, lines in found.items() if lines}


def _along(study: Study, axis: str, panels: Panels, folder: Path) -> list[Group]:
    """Along an axis of several values, for each combination of the others' values."""
    found = []
    for number, (others, places) in enumerate(_combinations(study, axis)[:DRAWN], 1):
        if len(places) > 1:
            end = "" if number == 1 else f"-{number}"
            drawn = [_drawn(study, axis, places, kind, measures, end, folder) for kind, measures in panels.items()]
            found.append(Group(others, drawn))
    return found


def _drawn(
    study: Study, axis: str, places: Sequence[Place], kind: str, measures: Sequence[Measure], end: str, folder: Path
) -> Drawn:
    index = study.axes.index(axis)
    values = [place[index] for place in places]
    numeric = all(is_number(value) for value in values)
    xs = [float(value) if numeric else float(i) for i, value in enumerate(values)]
    styles = style_of(study.strategies)
    rows = [by_label(study.at(place)) for place in places]

    def curve(label: str, of: Callable[[Row], float | None]) -> Curve:
        there = [(x, some[label]) for x, some in zip(xs, rows, strict=True) if label in some]
        found = [folded([of(row) for row in mine]) for _, mine in there]
        exact = there[0][1][0]["exactness"] == "exact"
        look = look_of(styles[label], exact) | ({} if numeric else {"linestyle": ""})
        return Curve(label, look, [x for x, _ in there], [mean for mean, _, _ in found], [each[1:] for each in found])

    labels = [label for label in study.strategies if any(label in some for some in rows)]
    made = [Panel(each.title, each.ylabel, each.scale, [curve(label, each.of) for label in labels]) for each in measures]
    name = f"{kind}-by-{re.sub(r'[^0-9A-Za-z]+', '-', axis)}{end}"
    ticks = [(x, text_of(value)) for x, value in zip(xs, values, strict=True)]
    figure = along_figure(axis, ticks, numeric and is_logarithmic(axis, xs), made)
    about = f"Line charts against {axis}: {', '.join(panel.title for panel in made)}"
    caption = " ".join(measure.caption for measure in measures)
    return Drawn(name, written(figure, folder / name, name), about, kind, caption)


def _panels(study: Study) -> Panels:
    """The figures along an axis, and the measures that stand side by side in each."""
    gap = gaps(study.rows)
    deleted = any(row["requests"] for row in study.rows)
    held_in = Measure(
        "Held-in, after the deletions", f"mean {study.metric}", "plain", accuracy,
        "Held-in: mean over current clients after the deletions.",
    )  # fmt: skip
    behind = Measure(
        "Gap to clients who share nothing", "local − strategy", "plain", gap,
        "Gap: how far that is below clients who each tune alone; below zero is better than alone.",
    )  # fmt: skip
    storage = Measure(
        "Storage", "bytes kept", "bytes", lambda row: row["storage_bytes"],
        "Storage: bytes of the files that the server keeps.",
    )  # fmt: skip
    forget = Measure(
        "A deletion", "gradient steps per deletion", "count", per_deletion,
        "A deletion: gradient steps of all clients together.",
    )  # fmt: skip
    learn = Measure(
        "Learning", "gradient steps", "count", lambda row: row["gradient_steps.learn"],
        "Learning: gradient steps of all clients together.",
    )  # fmt: skip
    seconds = Measure(
        "Client work", "seconds", "count", client_seconds,
        "Client work: seconds of learning and of deletions.",
    )  # fmt: skip
    return {
        "accuracy": [held_in, *([behind] if any(gap(row) is not None for row in study.rows) else [])],
        "storage": [storage, *([forget] if deleted else [])],
        "work": [learn, seconds],
    }


def _pareto(study: Study, place: Place, number: int, folder: Path) -> Group:
    title, name = _title(study, place), f"pareto-{number}"
    figure = pareto_figure(outcomes_at(study.at(place)), style_of(study.strategies), study.metric, f": {title}")
    about = f"Scatter charts at {title}: accuracy held-in against bytes stored and gradient steps per deletion"
    return Group(title, [Drawn(name, written(figure, folder / name, name), about, "pareto", RINGS)])


def _combinations(study: Study, axis: str) -> list[tuple[str, list[Place]]]:
    """Places along an axis, in order, for each combination of the other axes' values: what that is, and the places."""
    index = study.axes.index(axis)
    found: dict[Place, list[Place]] = {}
    for place in study.places:
        found.setdefault(place[:index] + place[index + 1 :], []).append(place)
    names = [other for other in study.axes if other != axis]
    return [(_named(names, others), places) for others, places in found.items()]


def _title(study: Study, place: Place) -> str:
    return _named(study.axes, place) or study.about.name


def _named(axes: Sequence[str], values: Sequence[Value]) -> str:
    return ", ".join(f"{axis.rpartition('.')[2]} {text_of(value)}" for axis, value in zip(axes, values, strict=True))


def _link(folder: Path, row: Mapping[str, Any]) -> str:
    """The page of a row's own run, if it has one."""
    page = Path("points") / str(row["point"]) / "report.html"
    return quote(page.as_posix()) if (folder / page).exists() else ""
