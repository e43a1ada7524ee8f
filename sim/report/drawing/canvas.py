"""What every figure is drawn on: type and grid, panels, axes over magnitudes, and the files it is written to."""

import io
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from clients.exact.files import write_whole
from sim.report.style import PALETTE, Style
from sim.terminal import human_bytes

INK, GRID, PAPER = "#1c2126", "#d9dee3", "#ffffff"
FONT, GAP = 9.0, 12.5  # points: size of text, distance of labels below each other
POINT = 72.0  # points in an inch; figures are laid out at this resolution, so that a pixel is a point
SAMPLE = 0.75  # inches on the right of a panel for the line that joins a name to its curve, and a sample of it
DPI = 200
"""Of the PNG files."""
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

Look = dict[str, Any]  # keywords of a line


def look_of(style: Style, exact: bool = True) -> Look:
    """A style as keywords of a line; a hollow marker says that a strategy forgets only approximately."""
    face = style.light if exact else PAPER
    return {"color": style.light, "marker": style.marker, "linestyle": style.line, "markerfacecolor": face}


def panels(count: int, labels: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Panels, each with room for these labels on its right: side by side, or below each other if labels are long."""
    wide, left, top, bottom = 12.0, 0.85, 0.4, 0.6  # inches
    room = max((width_of(shown(label)) for label in labels), default=0.0) / POINT + (SAMPLE if labels else 0.25)
    columns = count if wide / count - left - room >= 2.8 else 1
    rows, cell = count // columns, wide / columns
    inner = max(3.6, len(labels) * GAP / POINT + 0.2)
    high = rows * (top + inner + bottom)
    figure = Figure(figsize=(wide, high), dpi=POINT, facecolor=PAPER)
    places = [(i % columns * cell + left, high - (i // columns + 1) * (top + inner + bottom) + bottom) for i in range(count)]
    size = (cell - left - room) / wide, inner / high
    return figure, [figure.add_axes((x / wide, y / high, *size), facecolor="none") for x, y in places]


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
        room = 4 if which == "y" else 3  # numbers stand closer above each other than side by side
        ticks = [digit * 10.0**power for power in decades for digit in ((1,) if len(decades) > room else (1, 2, 5))]
    else:
        first = 10.0 ** decades[0]
        set_scale("symlog", linthresh=first, linscale=0.4)
        set_limits(-0.12 * first, high)
        ticks = [0.0, *(digit * 10.0**power for power in decades for digit in ((1,) if len(decades) > 2 else (1, 2, 5)))]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= high]))
    axis.set_minor_locator(NullLocator())


def shown(label: str) -> str:
    """A label fit for a figure: printable, and not longer than the figure can bear."""
    clean = "".join(c if c.isprintable() else "\ufffd" for c in label)
    return clean if len(clean) <= 36 else f"{clean[:11]}…{clean[-24:]}"


@lru_cache(maxsize=4096)  # labels stand in every figure, and each measurement sets up a renderer
def width_of(text: str) -> float:
    """Width in points; measured ten times as large, because a pixel is too coarse."""
    return float(Figure(dpi=POINT).text(0, 0, text, fontsize=10 * FONT).get_window_extent().width) / 10


def in_bytes(axis: Axis) -> None:
    """Write values of an axis as bytes with a unit."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: human_bytes(value)))


def in_numbers(axis: Axis) -> None:
    """Write values of an axis as plain numbers: ``0.5``, ``20,000``, ``3 M`` for millions."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def plain(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.10g} M"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def settle(axes: Axes) -> None:
    """Let the limits be those of what is drawn: names are placed by them."""
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())


def band(
    axes: Axes, xs: Sequence[float], bounds: Sequence[tuple[float | None, float | None]], colour: str, among: int
) -> None:
    """A band behind a line, from the low to the high bound at each place; nothing without bounds. The fainter, the more
    lines it is ``among``."""
    if bounds:
        lows, highs = (numbers(side) for side in zip(*bounds, strict=True))
        axes.fill_between(xs, lows, highs, color=colour, alpha=max(0.04, min(0.16, 1.0 / among)), linewidth=0, zorder=1.5)


def written(figure: Figure, path: Path, name: str) -> str:
    """Write a figure as SVG and PNG; the SVG as part of a page, under this name."""
    svg, png = io.BytesIO(), io.BytesIO()
    # Without these the SVG would hold the time, and addresses on the network.
    figure.savefig(svg, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
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
