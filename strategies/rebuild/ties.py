"""TIES-Merging (Yadav et al., 2023): trim, elect a sign, mean of those who agree. One model for everybody.

Trim: each τ_t keeps its ``keep`` share of largest magnitude, over the whole vector. Elect: the sign of the sum of trimmed
values, per entry; where that sum is 0, the sign that more entries have elected. Merge: the mean of the trimmed values of
the elected sign. Serve θ0 + λ · merged. Forget u: all who stay give their vectors again.

Deviations: entries as large as the smallest one kept are kept too, so that the order of ties does not matter; zeros never
are. Where as many entries elect plus as minus, sums of 0 go to minus, as in the published code.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from strategies.rebuild.rebuilt import OneModel, RebuiltParameters
from strategies.scale import Scales
from strategies.state.kept import Kept
from strategies.state.streaming import Row, blocks, kth_largest

SMALLEST = np.nextafter(np.float32(0), np.float32(1))


def trim_threshold(row: Row, size: int, keep: float) -> np.float32:
    """The smallest magnitude that is kept, above 0."""
    k = round(keep * size)
    return max(kth_largest(lambda part: np.abs(row(part)), 0, size, k), SMALLEST) if k else np.float32(np.inf)


def merge(rows: Sequence[Row], size: int, keep: float) -> np.ndarray:
    """The merged vector, fp32 [size]."""
    thresholds = [trim_threshold(row, size, keep) for row in rows]
    merged = np.empty(size, dtype=np.float32)
    elected, undecided = 0, []
    for part in blocks(0, size):
        plus, minus, sign = _elect(rows, thresholds, part)
        merged[part] = np.where(sign > 0, plus, np.where(sign < 0, minus, np.float32(0)))
        elected += int(np.count_nonzero(sign > 0)) - int(np.count_nonzero(sign < 0))
        (tied,) = np.nonzero((sign == 0) & (plus > 0))
        undecided.append((part.start + tied, plus[tied], minus[tied]))
    for tied, plus, minus in undecided:
        merged[tied] = plus if elected > 0 else minus
    return merged


def _elect(rows: Sequence[Row], thresholds: Sequence[np.float32], part: slice) -> tuple[np.ndarray, ...]:
    """Of a part: means of the kept positive and of the kept negative entries, and the sum of all kept ones."""
    plus, minus, pluses, minuses, ones, kept = np.zeros((6, part.stop - part.start), dtype=np.float32)
    for row, threshold in zip(rows, thresholds, strict=True):
        tau = row(part)
        for mask, sums, counts in ((tau >= threshold, plus, pluses), (tau <= -threshold, minus, minuses)):
            np.copyto(ones, mask)  # then float times float: mixed types are slower
            np.add(counts, ones, out=counts)
            np.add(sums, np.multiply(tau, ones, out=kept), out=sums)
    total = plus + minus
    return plus / np.maximum(pluses, 1), minus / np.maximum(minuses, 1), total


class TiesParameters(RebuiltParameters):
    """``keep``: share of each vector that is not trimmed; ``scale``: λ, or a grid to choose from."""

    keep: Annotated[float, Field(gt=0, le=1)] = 0.2
    scale: Scales = 1.0


class Ties(OneModel[TiesParameters]):
    @property
    def scales(self) -> Scales:
        return self.parameters.scale

    def merge(self, kept: Kept, rows: list[Row]) -> np.ndarray:
        return merge(rows, kept.size, self.parameters.keep)
