"""What accuracy takes: storage and deletions, with a ring around the strategies that no other dominates."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.report.drawing.canvas import INK, in_bytes, in_numbers, look_of, magnitudes, panels, shown
from sim.report.drawing.names import label_points
from sim.report.outcome import Outcome, front
from sim.report.style import Style


def pareto_figure(outcomes: Sequence[Outcome], styles: Mapping[str, Style], metric: str, where: str = "") -> Figure:
    """Accuracy held-in after the deletions, against bytes kept and, if anybody was deleted, against steps per deletion.

    Args:
        where: what the title says of the point of a study.
    """
    known = [each for each in outcomes if each.accuracy is not None]
    deleted = any(each.per_deletion is not None for each in known)
    figure, axes = panels(2 if deleted else 1, [])
    ringed = front(known)
    sides = [("storage", "Against what the server keeps", [each.storage for each in known])]
    if deleted:
        sides += [
            ("gradient steps per deletion", "Against what a deletion takes", [each.per_deletion or 0.0 for each in known])
        ]
        axes[1].sharey(axes[0])
    for panel, (name, title, xs) in zip(axes, sides, strict=True):
        _points(panel, known, xs, styles, ringed)
        panel.set(title=f"{title}{where}", xlabel=name)
    in_bytes(axes[0].xaxis)
    for panel in axes[1:]:
        in_numbers(panel.xaxis)
    axes[0].set_ylabel(f"mean {shown(metric)}, held-in, after")
    for panel, (_, _, xs) in zip(axes, sides, strict=True):
        label_points(panel, [(each.label, x, each.accuracy or 0.0, _half(each)) for each, x in zip(known, xs, strict=True)])
    return figure


def _points(
    axes: Axes, outcomes: Sequence[Outcome], xs: Sequence[float], styles: Mapping[str, Style], ringed: set[str]
) -> None:
    for each, x in zip(outcomes, xs, strict=True):
        look = look_of(styles[each.label], each.exact)
        value = each.accuracy or 0.0
        low, high = each.bounds or (value, value)
        bar = [[max(0.0, value - low)], [max(0.0, high - value)]] if each.bounds else None
        axes.errorbar([x], [value], yerr=bar, ecolor=look["color"], capsize=3, clip_on=False, **look)
        if each.label in ringed:
            axes.plot(
                [x], [value], marker="o", markersize=13, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.0,
                linestyle="", clip_on=False,
            )  # fmt: skip
    axes.margins(x=0.08, y=0.12)
    magnitudes(axes, "x", xs)


def _half(each: Outcome) -> float:
    low, high = each.bounds or (0.0, 0.0)
    return (high - low) / 2
