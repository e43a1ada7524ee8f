"""TALL masks (Wang et al., 2024): of the merged vector, each client keeps the entries that are mostly its own.

m_t = 1{|τ_t| ≥ λ · |Σ − τ_t|}; serve client t: θ0 + α · m_t ⊙ Σ/T; anybody else: θ0 + Σ/T. Forget u: Σ and with it every
mask changes, so all who stay give their vectors again.

Deviations and additions: the published code serves Σ of a few tasks at scale 1; of hundreds, the mean at a scale α. Not λ
but the mask's ``density`` is chosen, and from it λ_t for each client: the ratio |τ_t| / |Σ − τ_t| that this share of its
entries reaches. Density and α are one for all, the pair with the best mean score on members' validation data. An entry that
a client did not change is not in its mask. ``clusters`` (ours): see ``rebuilt``.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Annotated

import numpy as np
from pydantic import Field

from clients.exact import bits
from clients.work.served import BASE, Masked, Served
from strategies.rebuild.rebuilt import MaskEach, MaskedParameters
from strategies.scale import Scales, grid_of, race
from strategies.state import streaming
from strategies.state.kept import Kept
from strategies.state.streaming import Row, blocks, kth_largest
from strategies.strategy import MERGED, Ask

TINY = np.finfo(np.float32).tiny


def ratio(row: Row, total: np.ndarray) -> Row:
    """|τ_t| / |Σ − τ_t|, fp32; 0 where both are. Where only the divisor is, huge, and larger for larger entries."""

    def read(part: slice) -> np.ndarray:
        tau = row(part)
        others = total[part] - tau
        np.maximum(np.abs(others, out=others), TINY, out=others)
        with np.errstate(over="ignore"):
            return np.divide(np.abs(tau), others, out=others)

    return read


def tall_mask(row: Row, total: np.ndarray, threshold: float) -> np.ndarray:
    """m_t for λ = threshold > 0, packed.

    Args:
        total: Σ, fp32 [d].
    """
    read, smallest = ratio(row, total), np.float32(threshold)
    packed = np.empty((total.size + 7) // 8, dtype=np.uint8)
    for part in blocks(0, total.size):
        packed[part.start // 8 : (part.stop + 7) // 8] = bits.pack(read(part) >= smallest)
    return packed


def threshold_for(row: Row, total: np.ndarray, density: float) -> float:
    """λ_t that this share of the entries reaches (more where ratios are equal, fewer where entries are 0)."""
    k = round(density * total.size)
    return max(float(kth_largest(ratio(row, total), 0, total.size, k)), float(TINY)) if k else float("inf")


Density = Annotated[float, Field(gt=0, le=1)]


class TallParameters(MaskedParameters):
    """``density``: share of entries in a mask; ``alpha``: scale of the mean; numbers, or grids to choose from."""

    density: Density | Annotated[tuple[Density, ...], Field(min_length=1)] = (0.1, 0.3, 0.5, 0.7, 0.9)
    alpha: Scales = (0.8, 1.0, 1.2, 1.4, 1.6)


class Tall(MaskEach[TallParameters]):
    def localize(self, kept: Kept, ask: Ask) -> None:
        rows = self.rows(kept)
        self.erase_vector(MERGED)
        self.erase_masks(but=rows)
        self.chosen = {}
        if not rows:
            return
        total = streaming.total(list(rows.values()), kept.size)
        self.keep_merged(total / np.float32(len(rows)))

        @cache  # a number each; the masks would be d bits each
        def threshold(name: str, density: float) -> float:
            return threshold_for(rows[name], total, density)

        def mask_at(name: str, density: float) -> np.ndarray:
            return tall_mask(rows[name], total, threshold(name, density))

        density, alpha = self._choose(kept, ask, mask_at)
        for name in rows:
            self.keep_mask(name, mask_at(name, density))
        self.chosen = {"density": density, "alpha": alpha}

    def serve(self, kept: Kept, client: str) -> Served:
        if client in kept.members:
            return Masked(MERGED, scale=self.chosen["alpha"], mask=self.mask(self.mask_of(client)))
        return Masked(MERGED) if kept.members else BASE

    def _choose(self, kept: Kept, ask: Ask, mask_at: Callable[[str, float], np.ndarray]) -> tuple[float, float]:
        """Density and α with the best mean score; of equals, the smallest density and then α.

        Args:
            mask_at: the packed mask of a name at a density.
        """
        p = self.parameters
        densities = sorted(p.density) if isinstance(p.density, tuple) else [p.density]

        def masked(density: float, clients: Sequence[str]) -> list[tuple[str, Served]]:
            masks = {name: mask_at(name, density) for name in sorted({self.mask_of(client) for client in clients})}
            return [(client, Masked(MERGED, mask=masks[self.mask_of(client)])) for client in clients]

        ways = [partial(masked, density) for density in densities]
        chosen, alpha = race(kept, ask, ways, grid_of(p.alpha))
        return densities[chosen], alpha
