"""Figures of a study: what strategies come to along an axis, a line each, and the seeds as a band."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from sim.report.drawing.canvas import Look, band, in_bytes, in_numbers, magnitudes, numbers, panels, settle, shown
from sim.report.drawing.names import label_ends

Scale = Literal["plain", "count", "bytes"]
FAR = 10.0
"""Positive values whose ends are so many times apart stand on a logarithmic axis."""


@dataclass(frozen=True)
class Curve:
    """A strategy along an axis: ``means``, ``lows`` and ``highs`` over seeds beside the places ``xs``."""

    label: str
    look: Look
    xs: Sequence[float]
    means: Sequence[float | None]
    bounds: Sequence[tuple[float | None, float | None]]


@dataclass(frozen=True)
class Panel:
    title: str
    ylabel: str
    scale: Scale
    curves: Sequence[Curve]


def along_figure(axis: str, ticks: Sequence[tuple[float, str]], logarithmic: bool, shown_panels: Sequence[Panel]) -> Figure:
    """Panels over one axis.

    Args:
        axis: its name.
        ticks: the axis's places and what they are called.
        logarithmic: whether the axis is; it is linear otherwise.
    """
    figure, axes = panels(len(shown_panels), [curve.label for curve in shown_panels[0].curves])
    for place, panel in zip(axes, shown_panels, strict=True):
        _lines(place, panel)
        _ticks(place, ticks, logarithmic)
        place.set(title=panel.title, xlabel=shown(axis), ylabel=panel.ylabel)
        settle(place)
    for place, panel in zip(axes, shown_panels, strict=True):
        label_ends(place, [(curve.label, curve.xs, curve.means, curve.look) for curve in panel.curves])
    return figure


def is_logarithmic(axis: str, values: Sequence[float]) -> bool:
    """Numbers of clients stand on a logarithmic axis, and whatever goes over a magnitude."""
    return min(values) > 0 and (axis.rpartition(".")[2] == "clients" or max(values) / min(values) >= FAR)


def _lines(axes: Axes, panel: Panel) -> None:
    for i, curve in enumerate(panel.curves):
        axes.plot(curve.xs, numbers(curve.means), zorder=4 - i / 100, clip_on=False, **curve.look)
        if any(low != high for low, high in curve.bounds):
            band(axes, curve.xs, curve.bounds, curve.look["color"], len(panel.curves))
    if panel.scale != "plain":
        ends = [value for curve in panel.curves for each in curve.bounds for value in each if value is not None]
        magnitudes(axes, "y", ends)
        (in_bytes if panel.scale == "bytes" else in_numbers)(axes.yaxis)


def _ticks(axes: Axes, ticks: Sequence[tuple[float, str]], logarithmic: bool) -> None:
    places = [place for place, _ in ticks]
    if logarithmic:
        axes.set_xscale("log")
        reach = (max(places) / min(places)) ** 0.04
        axes.set_xlim(min(places) / reach, max(places) * reach)
    else:
        reach = 0.04 * (max(places) - min(places)) or 0.5
        axes.set_xlim(min(places) - reach, max(places) + reach)
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter(FixedFormatter([shown(name) for _, name in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
