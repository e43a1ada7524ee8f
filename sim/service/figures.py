"""The figures of a simulation: days waited against gradient steps, and the workers that are needed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from sim.report.drawing.canvas import INK, RC, Look, in_numbers, look_of, magnitudes, panels, written
from sim.report.drawing.names import label_ends
from sim.report.style import Style, style_of

SOON = 0.01
"""Days: what is shorter is shown as this."""


def draw(content: Mapping[str, Any], folder: Path) -> None:
    """Write the figures of a ``simulation.json`` into a folder, as SVG and PNG."""
    with matplotlib.rc_context(RC):
        if (point := told(content)) is not None:
            written(tradeoff_figure(point), folder / "tradeoff", "tradeoff")
        if len(grown := by_clients(content.get("points", ()))) > 1:
            written(workers_figure(grown, list(content["strategies"]), content["deadline"]), folder / "workers", "workers")


def told(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The scenario, or the first point of its grid, in which somebody is forgotten; None if nobody is in any."""
    points = content.get("points", [content])
    return next((each for each in points if any(one["requests"] for one in each["strategies"].values())), None)


def tradeoff_figure(content: Mapping[str, Any]) -> Figure:
    """Days that 99 % of deletions waited at most, against gradient steps per deletion: a curve per strategy over plans."""
    labels = list(content["strategies"])
    figure, (axes,) = panels(1, [*labels, "deadline"])
    ends, costs, waits = list[tuple[str, list[float], list[float | None], Look]](), list[float](), list[float]()
    styles = styles_of(content["strategies"])
    for label in labels:
        curve = sorted(_point(each["strategies"][label]) for each in content["policies"])
        look = look_of(styles[label])
        xs, ys = [x for x, _ in curve], [y for _, y in curve]
        axes.plot(xs, ys, zorder=3, **look)
        ends.append((label, xs, [*ys], look))
        costs += xs
        waits += ys
        if (best := cheapest(content, label)) is not None:
            x, y = _point(best["strategies"][label])
            axes.plot([x], [y], marker="o", markersize=14, markerfacecolor="none", color=look["color"], zorder=4)
    deadline = float(content["deadline"])
    dashed: Look = {"color": INK, "linestyle": "--", "marker": ""}
    magnitudes(axes, "x", costs)
    magnitudes(axes, "y", [*waits, deadline])
    low, high = axes.get_xlim()
    axes.plot([low, high], [deadline, deadline], zorder=2, **dashed)
    ends.append(("deadline", [high], [deadline], dashed))
    in_numbers(axes.xaxis)
    in_numbers(axes.yaxis)
    axes.set(
        title="Each point is a release plan; a ring marks the cheapest that meets the deadline for 99 %",
        xlabel="gradient steps per deletion",
        ylabel="days from request to publication, 99 %",
    )
    label_ends(axes, ends)
    return figure


def workers_figure(grown: Sequence[tuple[int, Mapping[str, Any]]], labels: Sequence[str], deadline: float) -> Figure:
    """The workers that keep 99 % of deletions within the deadline, against clients; no point where no number does."""
    figure, (axes,) = panels(1, labels)
    xs = [clients for clients, _ in grown]
    ends = []
    styles = styles_of(grown[0][1])
    for label in labels:
        ys = [strategies[label]["workers_needed"] for _, strategies in grown]
        look = look_of(styles[label])
        axes.plot(xs, [float("nan") if y is None else float(y) for y in ys], clip_on=False, zorder=3, **look)
        ends.append((label, xs, ys, look))
    magnitudes(axes, "x", [float(x) for x in xs])
    magnitudes(axes, "y", [float(y) for _, _, ys, _ in ends for y in ys if y is not None])
    in_numbers(axes.xaxis)
    in_numbers(axes.yaxis)
    axes.set(title=f"Workers that publish 99 % within {deadline:g} days", xlabel="clients", ylabel="workers")
    label_ends(axes, ends)
    return figure


def styles_of(strategies: Mapping[str, Any]) -> dict[str, Style]:
    """The look of each label. Files of before say no strategy: there the label has to do."""
    return style_of({label: found.get("strategy", label) for label, found in strategies.items()})


def by_clients(points: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    """Number of clients and results of the first point of each number, in order."""
    first: dict[int, Mapping[str, Any]] = {}
    for point in points:
        first.setdefault(point["clients"], point["strategies"])
    return sorted(first.items(), key=lambda each: each[0])


def cheapest(content: Mapping[str, Any], label: str) -> Mapping[str, Any] | None:
    """The plan with the fewest gradient steps that has 99 % in time, of equals the quickest; None if there is none."""
    deadline = content["deadline"]
    met = [each for each in content["policies"] if _wait(each["strategies"][label]) <= deadline]
    return min(met, key=lambda each: _point(each["strategies"][label]), default=None)


def _point(found: Mapping[str, Any]) -> tuple[float, float]:
    return float(found["gradient_steps_per_deletion"]), _wait(found)


def _wait(found: Mapping[str, Any]) -> float:
    return max(float(found["time_to_forget"]["p99"] or 0.0), SOON)
