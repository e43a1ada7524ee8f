"""Model Breadcrumbs (Davari and Belilovsky, 2024): of each tensor of each vector only the middle is merged. One model.

Of the n entries of a tensor the γ·n largest in magnitude are dropped, and of the others the density·n largest are kept.
Serve θ0 + α · Σ_t trimmed τ_t / T. Forget u: all who stay give their vectors again.

Deviations: the paper sums and scales by λ = α/T; of hundreds of clients we take the mean, and choose α from a grid on
members' validation data. Entries as large as the largest or the smallest one kept are kept too: the order of ties does not
matter, and small tensors keep at least what rounding leaves them.
"""

import itertools
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from strategies.rebuild.rebuilt import OneModel, RebuiltParameters
from strategies.scale import Scales
from strategies.state.kept import Kept
from strategies.state.streaming import Row, blocks, kth_largest


def merge(rows: Sequence[Row], bounds: Sequence[int], density: float, gamma: float) -> np.ndarray:
    """The mean of the trimmed vectors, fp32 [d]; bounds: start of each tensor, then the end."""
    merged = np.zeros(bounds[-1], dtype=np.float32)
    for start, stop in itertools.pairwise(bounds):
        ranges = [_kept_range(row, start, stop, density, gamma) for row in rows]
        for part in blocks(start, stop):
            added = np.zeros(part.stop - part.start)
            for row, (low, high) in zip(rows, ranges, strict=True):
                tau = row(part)
                magnitude = np.abs(tau)
                np.add(added, tau * ((magnitude >= low) & (magnitude <= high)), out=added)
            merged[part] = added / len(rows)
    return merged


def _kept_range(row: Row, start: int, stop: int, density: float, gamma: float) -> tuple[np.float32, np.float32]:
    """The smallest and the largest magnitude that one tensor of a vector keeps; the first above the second for none."""
    size = stop - start
    dropped, kept = round(gamma * size), round(density * size)
    if kept == 0:
        return np.float32(np.inf), np.float32(0)
    last = min(dropped + kept, size)
    low, high = (kth_largest(lambda part: np.abs(row(part)), start, stop, k) for k in (last, dropped + 1))
    return low, high


class BreadcrumbsParameters(RebuiltParameters):
    """``density``: share of a tensor that is kept; ``gamma``: share of largest entries dropped; ``alpha``: scale or grid."""

    density: Annotated[float, Field(gt=0, le=1)] = 0.9
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.01
    alpha: Scales = (0.8, 1.0, 1.2, 1.4, 1.6)

    @model_validator(mode="after")
    def _fit_in_a_tensor(self) -> "BreadcrumbsParameters":
        if self.density + self.gamma > 1:
            raise ValueError(f"density ({self.density:g}) and gamma ({self.gamma:g}) add up to more than 1")
        return self


class Breadcrumbs(OneModel[BreadcrumbsParameters]):
    @property
    def scales(self) -> Scales:
        return self.parameters.alpha

    def merge(self, kept: Kept, rows: list[Row]) -> np.ndarray:
        return merge(rows, kept.bounds, self.parameters.density, self.parameters.gamma)
