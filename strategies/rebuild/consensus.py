"""Consensus TA (Wang et al., 2024): of the merged vector, only entries that several TALL masks hold. One model.

c = Σ_t m_t with the TALL masks m_t (``tall``) of one density; serve θ0 + α · 1{c ≥ at_least} ⊙ Σ/T. Entries that nobody
holds ("catastrophic") or only one client ("selfish") are dropped. Forget u: all who stay give their vectors again.

Deviations: masks are made by density, as in ``tall``, not by a λ per client chosen on its validation data; of hundreds of
clients we serve the mean, at an α chosen from a grid on members' validation data.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from strategies.rebuild.rebuilt import OneModel, RebuiltParameters
from strategies.rebuild.tall import ratio, threshold_for
from strategies.scale import Scales
from strategies.state import streaming
from strategies.state.kept import Kept
from strategies.state.streaming import Row, blocks


def merge(rows: Sequence[Row], size: int, density: float, at_least: int) -> np.ndarray:
    """Consensus mask ⊙ Σ/T, fp32 [size]."""
    total = streaming.total(rows, size)
    thresholds = [np.float32(threshold_for(row, total, density)) for row in rows]
    ratios = [ratio(row, total) for row in rows]
    merged = np.empty(size, dtype=np.float32)
    for part in blocks(0, size):
        count = np.zeros(part.stop - part.start, dtype=np.int32)
        for read, threshold in zip(ratios, thresholds, strict=True):
            np.add(count, read(part) >= threshold, out=count)
        merged[part] = total[part] * (count >= at_least) / np.float32(len(rows))
    return merged


class ConsensusParameters(RebuiltParameters):
    """``density``: share of entries in a client's mask; ``at_least``: masks that hold an entry; ``alpha``: scale or grid."""

    density: Annotated[float, Field(gt=0, le=1)] = 0.3
    at_least: int = Field(2, ge=1)
    alpha: Scales = (0.8, 1.0, 1.2, 1.4, 1.6)


class Consensus(OneModel[ConsensusParameters]):
    @property
    def scales(self) -> Scales:
        return self.parameters.alpha

    def merge(self, kept: Kept, rows: list[Row]) -> np.ndarray:
        return merge(rows, kept.size, self.parameters.density, self.parameters.at_least)
