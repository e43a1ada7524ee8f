"""Figures of a run: accuracy and price against deletions, and what accuracy takes in storage and deletions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sim.report.drawing.canvas import INK, RC, Look, band, in_numbers, magnitudes, numbers, panels, shown, written
from sim.report.drawing.names import label_ends
from sim.report.drawing.pareto import pareto_figure
from sim.report.outcome import Outcome
from sim.report.style import Style

RETRAIN = "retrain from scratch"

Bounds = Sequence[tuple[float | None, float | None]]


@dataclass(frozen=True)
class Series:
    """What the figures show of one strategy.

    Attributes:
        look: its colour, marker and line, as keywords of a line.
        deleted: clients deleted so far, at each evaluation; the next three lists run beside it.
        held_in, held_out: accuracies; None where there was nobody to evaluate on.
        steps: gradient steps spent on deletions so far.
        bounds: least and most over seeds of ``held_in``, ``held_out`` and ``steps``; nothing with one seed.
    """

    label: str
    look: Look
    deleted: Sequence[int]
    held_in: Sequence[float | None]
    held_out: Sequence[float | None]
    steps: Sequence[float]
    bounds: Mapping[str, Bounds]


def draw(
    series: Sequence[Series],
    outcomes: Sequence[Outcome],
    styles: Mapping[str, Style],
    retrain: Mapping[str, Sequence[tuple[int, float]]],
    metric: str,
    folder: Path,
) -> dict[str, str]:
    """Write all figures into a folder.

    Args:
        series: one per strategy, in the order of the table.
        outcomes: what each came to at the end.
        styles: by label.
        retrain: the price of training again on everyone retained, (deleted, gradient steps), by the name to show.
        metric: what accuracy means here.

    Returns:
        Name to inline SVG.
    """
    with matplotlib.rc_context(RC):
        figures = {
            "accuracy": accuracy_figure(series, metric),
            "cost": cost_figure(series, retrain),
            "storage": pareto_figure(outcomes, styles, metric),
        }
        return {name: written(figure, folder / name, name) for name, figure in figures.items()}


def accuracy_figure(series: Sequence[Series], metric: str) -> Figure:
    """Accuracy against number deleted: held-in on the left, held-out on the right, on one scale."""
    figure, (left, right) = panels(2, [s.label for s in series])
    right.sharey(left)
    sides = (
        (left, "held_in", "Held-in: mean over current clients", [s.held_in for s in series]),
        (right, "held_out", "Held-out: mean over all clients, forgotten as unknown", [s.held_out for s in series]),
    )
    for axes, key, title, curves in sides:
        _lines(axes, series, curves, key)
        axes.set(title=title, xlabel="clients deleted")
    left.set_ylabel(f"mean {shown(metric)}")
    for axes, _, _, curves in sides:
        label_ends(axes, [(s.label, s.deleted, curve, s.look) for s, curve in zip(series, curves, strict=True)])
    return figure


def cost_figure(series: Sequence[Series], retrain: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Cumulative gradient steps against number deleted, beside training again from scratch."""
    figure, (axes,) = panels(1, [*(s.label for s in series), *retrain])
    dashed = {"color": INK, "linestyle": "--", "marker": ""}
    ends = [(s.label, s.deleted, s.steps, s.look) for s in series]
    ends += [(name, [x for x, _ in line], [y for _, y in line], dashed) for name, line in retrain.items()]
    _lines(axes, series, [s.steps for s in series], "steps")
    for line in retrain.values():
        axes.plot([x for x, _ in line], [y for _, y in line], color=INK, linestyle="--", zorder=2)
    magnitudes(axes, "y", [y for _, _, steps, _ in ends for y in steps])
    in_numbers(axes.yaxis)
    axes.set(title="Price of the deletions so far", xlabel="clients deleted", ylabel="gradient steps, cumulative")
    label_ends(axes, ends)
    return figure


def _lines(axes: Axes, series: Sequence[Series], curves: Sequence[Sequence[float | None]], key: str) -> None:
    for i, (s, curve) in enumerate(zip(series, curves, strict=True)):
        # Early strategies on top: where curves coincide, the later ones have the larger, hence visible, markers.
        axes.plot(s.deleted, numbers(curve), zorder=4 - i / 100, clip_on=False, **s.look)
        band(axes, s.deleted, s.bounds.get(key, ()), s.look["color"], len(series))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10]))
    last = max((x for s in series for x in s.deleted), default=0)
    axes.set_xlim(-0.03 * max(last, 1), 1.03 * max(last, 1))
