"""The figures of a report: each is written as SVG and PNG, and given back as SVG to put into a page.

The same series give the same bytes: no dates, salted ids, and positions that depend on nothing but the series.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from scipy.optimize import isotonic_regression  # type: ignore[import-untyped]

from clients.exact.files import write_whole
from sim.terminal import human_bytes

INK, GRID, PAPER = "#1c2126", "#d9dee3", "#ffffff"
# (on white, on dark). After Okabe and Ito's colour-blind-safe set, darkened or left out where
# too pale for a line on white; the last ones, less far apart, are told apart by their markers.
PALETTE = (
    ("#0072b2", "#58aef0"),
    ("#d55e00", "#f58a3c"),
    ("#009e73", "#2fc79c"),
    ("#c0649a", "#e79bc9"),
    ("#a87400", "#e3b341"),
    ("#4b3fa0", "#a99dff"),
    ("#747474", "#adadad"),
    ("#882255", "#dd6a98"),
    ("#6f7d12", "#bccb4f"),
    ("#1b87ab", "#6fd3ee"),
    ("#7a4a2b", "#c99772"),
)
MARKERS = "osD^vPX<>ph*"  # 12 markers and 11 colours: the first 132 pairs differ
FONT, GAP = 9.0, 12.5  # points: size of text, distance of labels below each other
POINT = 72.0  # points in an inch; figures are laid out at this resolution, so that a pixel is a point
RETRAIN = "retrain from scratch"
RC: dict[Any, Any] = {
    "svg.hashsalt": "unmerge",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label may hold a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 6.0,
    "lines.markeredgewidth": 1.4,
}

Box = tuple[float, float, float, float]
Look = dict[str, Any]  # keywords of a line


@dataclass(frozen=True)
class Series:
    """What the figures show of one strategy.

    Attributes:
        deleted: clients deleted so far, at each evaluation; the next three lists run beside it.
        held_in, held_out: accuracies; None where there was nobody to evaluate on.
        steps: gradient steps spent on deletions so far.
        storage: bytes kept at the end.
        after: accuracy held-in at the end.
        spread: its standard deviation over seeds, if there were several.
    """

    label: str
    exact: bool
    deleted: Sequence[int]
    held_in: Sequence[float | None]
    held_out: Sequence[float | None]
    steps: Sequence[float]
    storage: float
    after: float | None
    spread: float | None = None


def draw(
    series: Sequence[Series], retrain: Mapping[str, Sequence[tuple[int, float]]], metric: str, folder: Path
) -> dict[str, str]:
    """Write all figures into a folder.

    Args:
        series: one per strategy; its place decides its colour and marker in every figure.
        retrain: the price of training again on everyone retained, (deleted, gradient steps), by the name to show.
        metric: what accuracy means here.

    Returns:
        Name to inline SVG.
    """
    with matplotlib.rc_context(RC):
        figures = {
            "accuracy": accuracy_figure(series, metric),
            "cost": cost_figure(series, retrain),
            "storage": storage_figure(series, metric),
        }
        return {name: written(figure, folder / name, name) for name, figure in figures.items()}


def accuracy_figure(series: Sequence[Series], metric: str) -> Figure:
    """Accuracy against number deleted: held-in on the left, held-out on the right, on one scale."""
    figure, (left, right) = panels(2, [s.label for s in series])
    right.sharey(left)
    for axes, title, curves in (
        (left, "Held-in: mean over current clients", [s.held_in for s in series]),
        (right, "Held-out: mean over all clients, forgotten as unknown", [s.held_out for s in series]),
    ):
        _lines(axes, series, curves)
        axes.set(title=title, xlabel="clients deleted")
    left.set_ylabel(f"mean {shown(metric)}")
    for axes, curves in ((left, [s.held_in for s in series]), (right, [s.held_out for s in series])):
        label_ends(
            axes,
            [(s.label, s.deleted, curve, look_of(i, s)) for i, (s, curve) in enumerate(zip(series, curves, strict=True))],
        )
    return figure


def cost_figure(series: Sequence[Series], retrain: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Cumulative gradient steps against number deleted, beside training again from scratch."""
    figure, (axes,) = panels(1, [*(s.label for s in series), *retrain])
    dashed = {"color": INK, "linestyle": "--", "marker": ""}
    ends = [(s.label, s.deleted, s.steps, look_of(i, s)) for i, s in enumerate(series)]
    ends += [(name, [x for x, _ in line], [y for _, y in line], dashed) for name, line in retrain.items()]
    _lines(axes, series, [s.steps for s in series])
    for line in retrain.values():
        axes.plot([x for x, _ in line], [y for _, y in line], color=INK, linestyle="--", zorder=2)
    magnitudes(axes, "y", [y for _, _, steps, _ in ends for y in steps])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set(title="Price of the deletions so far", xlabel="clients deleted", ylabel="gradient steps, cumulative")
    label_ends(axes, ends)
    return figure


def storage_figure(series: Sequence[Series], metric: str) -> Figure:
    """Accuracy held-in at the end against bytes kept; every point carries its name."""
    figure, (axes,) = panels(1, [])
    known = [(i, s, s.after) for i, s in enumerate(series) if s.after is not None]
    for i, s, after in known:
        look = look_of(i, s)
        axes.errorbar(s.storage, after, yerr=s.spread, ecolor=look["color"], capsize=3, clip_on=False, **look)
    axes.margins(x=0.08, y=0.12)
    magnitudes(axes, "x", [s.storage for _, s, _ in known])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human_bytes(value)))
    axes.set(
        title="Accuracy held-in after the deletions, against what the server keeps",
        xlabel="storage",
        ylabel=f"mean {shown(metric)}, held-in, after",
    )
    _label_points(axes, [(s.label, s.storage, after, s.spread or 0.0) for _, s, after in known])
    return figure


def spaced(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near those wanted, in the same order, ``gap`` apart as far as there is room between low and high."""
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], -i))  # of equals, the first comes on top
    steps = gap * np.arange(len(wanted))
    free = isotonic_regression(np.asarray(wanted, dtype=float)[order] - steps).x
    places = np.empty(len(wanted))
    places[order] = np.clip(free, low, high - steps[-1]) + steps
    return [float(place) for place in places]


def look_of(index: int, series: Series) -> Look:
    """Colour and marker of a strategy; a hollow marker says that it forgets only approximately."""
    look = plain_look(index)
    return look | {"markerfacecolor": look["color"] if series.exact else PAPER}


def plain_look(index: int) -> Look:
    """Colour and marker of a strategy by its place."""
    return {"color": PALETTE[index % len(PALETTE)][0], "marker": MARKERS[index % len(MARKERS)], "linestyle": "-"}


def panels(count: int, labels: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Panels, each with room for these labels on its right: side by side, or below each other if labels are long."""
    wide, left, top, bottom = 12.0, 0.85, 0.4, 0.6  # inches
    room = max((width_of(shown(label)) for label in labels), default=0.0) / POINT + (0.55 if labels else 0.25)
    columns = count if wide / count - left - room >= 2.8 else 1
    rows, cell = count // columns, wide / columns
    inner = max(3.6, len(labels) * GAP / POINT + 0.2)
    high = rows * (top + inner + bottom)
    figure = Figure(figsize=(wide, high), dpi=POINT, facecolor=PAPER)
    places = [(i % columns * cell + left, high - (i // columns + 1) * (top + inner + bottom) + bottom) for i in range(count)]
    size = (cell - left - room) / wide, inner / high
    return figure, [figure.add_axes((x / wide, y / high, *size), facecolor="none") for x, y in places]


def _lines(axes: Axes, series: Sequence[Series], curves: Sequence[Sequence[float | None]]) -> None:
    for i, (s, curve) in enumerate(zip(series, curves, strict=True)):
        # Early strategies on top: where curves coincide, the later ones have the larger, hence visible, markers.
        axes.plot(s.deleted, numbers(curve), zorder=4 - i / 100, clip_on=False, **look_of(i, s))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10]))
    last = max((x for s in series for x in s.deleted), default=0)
    axes.set_xlim(-0.03 * max(last, 1), 1.03 * max(last, 1))


def numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]


def magnitudes(axes: Axes, which: str, values: Sequence[float]) -> None:
    """A logarithmic axis, with a place for zero where it is needed."""
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    set_scale, set_limits = (axes.set_xscale, axes.set_xlim) if which == "x" else (axes.set_yscale, axes.set_ylim)
    positive = [value for value in values if value > 0]
    if not positive:
        set_limits(-0.05, 1.0)
        axis.set_major_locator(MaxNLocator(integer=True, nbins=2))
        return
    low, high = min(positive), max(positive) * 1.6
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    if len(positive) == len(values):
        set_scale("log")
        set_limits(low / 1.6, high)
        ticks = [digit * 10.0**power for power in decades for digit in ((1,) if len(decades) > 4 else (1, 2, 5))]
    else:
        first = 10.0 ** decades[0]
        set_scale("symlog", linthresh=first, linscale=0.4)
        set_limits(-0.12 * first, high)
        ticks = [0.0, *(10.0**power for power in decades)]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= high]))
    axis.set_minor_locator(NullLocator())


def label_ends(axes: Axes, ends: Sequence[tuple[str, Sequence[float], Sequence[float | None], Look]]) -> None:
    """Name every line on the right of the panel, level with its end, or near it and joined to it."""
    lasts = [(name, *_last(xs, ys), look) for name, xs, ys, look in ends if any(y is not None for y in ys)]
    to_points = axes.transData.transform
    box = axes.get_window_extent()
    wanted = [float(to_points((x, y))[1]) for _, x, y, _ in lasts]
    places = spaced(wanted, GAP, box.y0, box.y1 - GAP / 2)
    for (name, x, y, look), place in zip(lasts, places, strict=True):
        start = float(to_points((x, y))[0])
        level, bend = (place - box.y0) / box.height, (box.x1 + 18 - box.x0) / box.width
        axes.plot(
            [(start - box.x0) / box.width, bend],
            [(float(to_points((x, y))[1]) - box.y0) / box.height, level],
            color=look["color"], linewidth=0.7, alpha=0.8, transform=axes.transAxes, clip_on=False, zorder=1,
        )  # fmt: skip
        sample = [bend, bend + 17 / box.width] if not look["marker"] else [bend]
        axes.plot(sample, [level] * len(sample), transform=axes.transAxes, clip_on=False, **look)
        axes.text(
            bend + (21 if len(sample) > 1 else 7) / box.width, level, shown(name),
            transform=axes.transAxes, va="center_baseline",
        )  # fmt: skip


def _last(xs: Sequence[float], ys: Sequence[float | None]) -> tuple[float, float]:
    """The last point that has a value."""
    return next((x, y) for x, y in zip(reversed(xs), reversed(ys), strict=True) if y is not None)


def _label_points(axes: Axes, points: Sequence[tuple[str, float, float, float]]) -> None:
    """Name every point (name, x, y, spread) where its name covers least: other names, other points, the edge."""
    frame = axes.get_window_extent()
    spots = [tuple(float(v) for v in axes.transData.transform((x, y))) for _, x, y, _ in points]
    bars = [axes.transData.transform([(x, y - spread), (x, y + spread)]) for _, x, y, spread in points]
    taken: list[Box] = [(float(x) - 6, float(y) - 6, float(x) + 6, float(top) + 6) for (x, y), (_, top) in bars]
    for (name, *_), (x, y) in zip(points, spots, strict=True):
        width = width_of(shown(name))
        choices = [(x + dx - (width if dx < 0 else 0 if dx > 0 else width / 2), y + dy) for dx, dy in _OFFSETS]
        boxes = [(left, middle - FONT / 2, left + width, middle + FONT / 2) for left, middle in choices]
        covered = [sum(_overlap(box, other) for other in taken) + _outside(box, frame.extents) for box in boxes]
        costs = [area + 2 * rank for rank, area in enumerate(covered)]  # a hair's breadth is better than far away
        best = int(np.argmin(costs))
        left, low, right, high = boxes[best]
        taken.append(boxes[best])
        nearest = (min(max(x, left - 2), right + 2), (low + high) / 2)
        if _OFFSETS[best] not in _OFFSETS[:4]:
            ends = axes.transAxes.inverted().transform([(x, y), nearest])
            axes.plot(ends[:, 0], ends[:, 1], color=INK, linewidth=0.6, alpha=0.6, transform=axes.transAxes, zorder=1)
        place = axes.transAxes.inverted().transform((left, (low + high) / 2))
        axes.text(place[0], place[1], shown(name), transform=axes.transAxes, va="center_baseline")


# Where a point's name may stand, in points, nearest first.
_OFFSETS = [(9, 0), (-9, 0), (0, 13), (0, -13)] + [
    (side * (9 + out), up * rise)
    for rise in (13, 26, 39, 52, 65)
    for out in (0, 14, 28)
    for up in (1, -1)
    for side in (1, -1)
]


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


def _outside(box: Box, frame: Sequence[float]) -> float:
    inside: Box = (frame[0], frame[1], frame[2], frame[3])
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, inside)


def shown(label: str) -> str:
    """A label fit for a figure: printable, and not longer than the figure can bear."""
    clean = "".join(c if c.isprintable() else "\ufffd" for c in label)
    return clean if len(clean) <= 36 else f"{clean[:11]}…{clean[-24:]}"


def width_of(text: str) -> float:
    """Width in points; measured ten times as large, because a pixel is too coarse."""
    return float(Figure(dpi=POINT).text(0, 0, text, fontsize=10 * FONT).get_window_extent().width) / 10


def written(figure: Figure, path: Path, name: str) -> str:
    svg, png = io.BytesIO(), io.BytesIO()
    # Without these the SVG would hold the time, and addresses on the network.
    figure.savefig(svg, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    write_whole(path.with_suffix(".svg"), svg.getvalue())
    write_whole(path.with_suffix(".png"), png.getvalue())
    return inline(svg.getvalue().decode(), name)


def inline(svg: str, name: str) -> str:
    """An SVG file as part of a page: its ids its own, its colours those of the page, light or dark."""
    themed = {INK: "currentColor", GRID: "var(--grid)", PAPER: "var(--paper)"}
    themed |= {light: f"var(--series-{i})" for i, (light, _) in enumerate(PALETTE)}
    body = svg[svg.index("<svg") :]
    body = re.sub(r' xmlns(:xlink)?="[^"]*"', "", body)
    body = re.sub(r'( id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", body)
    return re.sub(r"(fill|stroke): (#[0-9a-f]{6})\b", lambda found: f"{found[1]}: {themed.get(found[2], found[2])}", body)
