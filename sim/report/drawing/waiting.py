"""Figures over simulated time: how long deletions waited, how many wait, what accuracy and storage come to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sim.report.drawing.canvas import (
    FONT,
    INK,
    POINT,
    RC,
    Look,
    in_bytes,
    magnitudes,
    numbers,
    panels,
    settle,
    shown,
    width_of,
    written,
)  # fmt: skip
from sim.report.drawing.names import label_ends

BINS = 40


@dataclass(frozen=True)
class Waited:
    """What the figures show of one strategy.

    Attributes:
        look: its colour and marker.
        arrival, published: days of every deletion.
        day: of each evaluation; ``held_in`` and ``storage`` run beside it.
        deadline: days after which a request is late.
    """

    label: str
    look: Look
    arrival: Sequence[float]
    published: Sequence[float]
    day: Sequence[float]
    held_in: Sequence[float | None]
    storage: Sequence[float]
    deadline: float | None


def draw(waited: Sequence[Waited], metric: str, folder: Path) -> dict[str, str]:
    """Write the figures into a folder; name to inline SVG. Nothing where no deletion was carried out."""
    told = [each for each in waited if len(each.arrival)]
    if not told:
        return {}
    with matplotlib.rc_context(RC):
        figures = {
            "waiting": waiting_figure(told),
            "backlog": backlog_figure(told),
            "over_time": over_time_figure(told, metric),
        }
        return {name: written(figure, folder / name, name) for name, figure in figures.items()}


def waiting_figure(waited: Sequence[Waited]) -> Figure:
    """A histogram per strategy of the days from request to publication, one below the other, with the deadline."""
    left = max(width_of(shown(each.label)) for each in waited) / POINT + 0.3
    high = 0.42 * len(waited) + 1.0
    figure = Figure(figsize=(12.0, high), dpi=POINT, facecolor="none")
    axes = figure.add_axes((left / 12.0, 0.6 / high, 1 - (left + 0.4) / 12.0, (high - 1.0) / high), facecolor="none")
    days = [np.subtract(each.published, each.arrival) for each in waited]
    deadlines = sorted({each.deadline for each in waited if each.deadline is not None})
    far = max([*(float(each.max()) for each in days), *deadlines]) or 1.0
    edges = np.linspace(0.0, far, BINS + 1)
    for row, (each, mine) in enumerate(zip(waited, days, strict=True)):
        share = np.histogram(mine, edges)[0] / len(mine)
        base = len(waited) - 1 - row
        axes.bar(edges[:-1], 0.8 * share / share.max(), far / BINS, base, align="edge", color=each.look["color"])
        axes.plot([float(np.median(mine))], [base + 0.4], marker="|", color=INK, markersize=FONT)
    for deadline in deadlines:
        axes.axvline(deadline, color=INK, linestyle="--")
    axes.set_yticks([len(waited) - 1 - row + 0.4 for row in range(len(waited))], [shown(each.label) for each in waited])
    axes.set_ylim(0, len(waited))
    axes.set_xlim(0, 1.02 * far)
    axes.set(title="Days from request to publication", xlabel="days; bar: median; dashed: deadline")
    return figure


def backlog_figure(waited: Sequence[Waited]) -> Figure:
    """How many deletions wait to be published, over simulated time."""
    figure, (axes,) = panels(1, [each.label for each in waited])
    ends = []
    for place, each in enumerate(waited):
        days, steps = backlog(each.arrival, each.published)
        look = each.look | {"marker": ""}
        axes.step(days, steps, where="post", zorder=4 - place / 100, **look)
        ends.append((each.label, days, [*steps], each.look))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.set(title="Deletions that wait", xlabel="simulated days", ylabel="requests")
    settle(axes)
    label_ends(axes, ends)
    return figure


def over_time_figure(waited: Sequence[Waited], metric: str) -> Figure:
    """Accuracy held-in and bytes kept at each evaluation, over simulated time."""
    figure, (left, right) = panels(2, [each.label for each in waited])
    for place, each in enumerate(waited):
        left.plot(each.day, numbers(each.held_in), zorder=4 - place / 100, clip_on=False, **each.look)
        right.plot(each.day, each.storage, zorder=4 - place / 100, clip_on=False, **each.look)
    magnitudes(right, "y", [bytes_ for each in waited for bytes_ in each.storage])
    in_bytes(right.yaxis)
    left.set(title="Held-in over time", xlabel="simulated days", ylabel=f"mean {metric}")
    right.set(title="Storage over time", xlabel="simulated days")
    for axes in (left, right):
        settle(axes)
    label_ends(left, [(each.label, each.day, each.held_in, each.look) for each in waited])
    label_ends(right, [(each.label, each.day, each.storage, each.look) for each in waited])
    return figure


def backlog(arrival: Sequence[float], published: Sequence[float]) -> tuple[list[float], list[float]]:
    """How many wait from each of these days on."""
    changes: dict[float, int] = dict.fromkeys(sorted({0.0, *arrival, *published}), 0)
    for day in arrival:
        changes[day] += 1
    for day in published:
        changes[day] -= 1
    return list(changes), [float(each) for each in np.cumsum(list(changes.values()))]
