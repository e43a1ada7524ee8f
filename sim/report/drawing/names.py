"""Names beside lines and points, where they cover least: whoever reads a figure looks nothing up."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from sim.report.drawing.canvas import FONT, GAP, INK, Look, shown, width_of

Box = tuple[float, float, float, float]


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
        sample = {key: value for key, value in look.items() if key not in ("marker", "markerfacecolor")}
        axes.plot([bend, bend + 22 / box.width], [level] * 2, transform=axes.transAxes, clip_on=False, **sample)
        if look["marker"]:
            axes.plot([bend + 11 / box.width], [level], transform=axes.transAxes, clip_on=False, **look)
        axes.text(bend + 26 / box.width, level, shown(name), transform=axes.transAxes, va="center_baseline")


def _last(xs: Sequence[float], ys: Sequence[float | None]) -> tuple[float, float]:
    """The last point that has a value."""
    return next((x, y) for x, y in zip(reversed(xs), reversed(ys), strict=True) if y is not None)


def label_points(axes: Axes, points: Sequence[tuple[str, float, float, float]]) -> None:
    """Name every point where its name covers least: other names, other points, the edge.

    Args:
        points: name, x, y and half the height of the bar.
    """
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
