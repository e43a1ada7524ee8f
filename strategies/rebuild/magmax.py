"""MagMax (Marczak et al., 2024): per entry, the value of the client whose is largest in magnitude. One model for everybody.

Serve θ0 + λ · τ_max, λ = 0.5. Forget u: all who stay give their vectors again.

Deviation: of values of equal magnitude the one of the client whose name sorts first wins (the paper: the later one), so that
it does not matter who joined when.
"""

from collections.abc import Sequence

import numpy as np

from strategies.rebuild.rebuilt import OneModel, RebuiltParameters
from strategies.scale import Scales
from strategies.state.kept import Kept
from strategies.state.streaming import Row, blocks


def merge(rows: Sequence[Row], size: int) -> np.ndarray:
    """τ_max, fp32 [size]."""
    merged = np.zeros(size, dtype=np.float32)
    for part in blocks(0, size):
        chosen = merged[part]
        largest = np.zeros_like(chosen)
        for row in rows:
            tau = row(part)
            magnitude = np.abs(tau)
            np.copyto(chosen, tau, where=magnitude > largest)
            np.maximum(largest, magnitude, out=largest)
    return merged


class MagMaxParameters(RebuiltParameters):
    """``scale``: λ, or a grid to choose from."""

    scale: Scales = 0.5


class MagMax(OneModel[MagMaxParameters]):
    @property
    def scales(self) -> Scales:
        return self.parameters.scale

    def merge(self, kept: Kept, rows: list[Row]) -> np.ndarray:
        return merge(rows, kept.size)
