"""SIFT-Masks (arXiv 2504.04626): sign-fixed tuning, one local mask per client, one merged sum.

m_t = 1{τ_t ⊙ v > 0}; serve client t: θ0 + α·(m_t ⊙ Σ)/T; anybody else: θ0 + Σ/T. Forget u: subtract τ_u, erase m_u.

Deviations and additions: α is chosen on validation data at every release, from the current members alone (the paper
does not say when). ``keep`` ρ < 1 (ours): m_t keeps only the client's own largest share ρ of its non-zero entries; ρ = 1 is
the paper. The default, ½ with a wide grid, follows from docs/what_merging_adds.md: it was never worse than ρ = 1.
``scale: counts`` (ours): serve (m_t ⊙ Σ)/c with the mask counts c = Σ_t m_t instead of /T; c is subtractable too.
``scale: l1`` (ours): each tensor of (m_t ⊙ Σ)/T is rescaled to the l1 norm that m_t ⊙ τ_t has there, which follows from
the mean size of the client's own kept entries (one number per tensor, its own data alone); no search, α is 1.
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from clients.exact import bits
from clients.work.served import Masked, Served
from strategies.scale import choose_scale
from strategies.state.kept import Kept
from strategies.state.masks import Counts, Masks, Sizes, masked
from strategies.state.part import Part
from strategies.state.sum import MEAN, Sum
from strategies.strategy import Ask, Deletion, Parameters, Strategy

PAPER_GRID = (0.8, 1.0, 1.2, 1.4, 1.6)
WIDE_GRID = (0.8, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)


class SiftMasksParameters(Parameters):
    """``keep``: share ρ of a client's own mask; ``alpha``: scale or grid; ``scale``: by clients, counts or l1 norm."""

    keep: Annotated[float, Field(gt=0, le=1)] = 0.5
    alpha: float | tuple[float, ...] | None = Field(
        None, description="scale, or a grid of them; default the paper's grid at keep 1, a wider one below, 1 with scale l1"
    )
    scale: Literal["clients", "counts", "l1"] = "clients"

    @property
    def grid(self) -> tuple[float, ...]:
        if isinstance(self.alpha, tuple):
            return self.alpha
        if self.alpha is not None:
            return (self.alpha,)
        if self.scale == "l1":
            return (1.0,)
        return PAPER_GRID if self.keep == 1 else WIDE_GRID


class SiftMasks(Strategy[SiftMasksParameters]):
    deletion: ClassVar[Deletion] = "subtract"
    rule = "sign_fixed"

    @property
    def parts(self) -> tuple[Part, ...]:
        keep = self.parameters.keep
        return (Sum(), *masked(keep), *((Counts(keep),) if self.parameters.scale == "counts" else ()))

    def localize(self, kept: Kept, ask: Ask) -> None:
        self.chosen["alpha"] = choose_scale(self, kept, ask, self.parameters.grid)

    def serve(self, kept: Kept, client: str) -> Served:
        if client not in kept.members:
            return Masked(MEAN)
        keep = self.parameters.keep
        direction = Counts(keep).name if self.parameters.scale == "counts" else MEAN
        mask = kept[Masks(keep)].read(client)
        factors = _l1_factors(kept, client, keep, mask) if self.parameters.scale == "l1" else None
        return Masked(direction, scale=self.chosen.get("alpha", 1.0), mask=mask, factors=factors)


def _l1_factors(kept: Kept, client: str, keep: float, packed: np.ndarray) -> np.ndarray:
    """‖m ⊙ τ‖₁ / ‖m ⊙ Σ/T‖₁ of each tensor, 0 where the mask or the sum is empty; fp32 [tensors]."""
    mask, starts = bits.unpack(packed, kept.size), kept.bounds[:-1]
    own = kept[Sizes(keep)].read(client).astype(np.float64) * np.add.reduceat(mask.astype(np.int64), starts)
    merged = np.add.reduceat(np.where(mask, np.abs(kept.direction(MEAN)), 0).astype(np.float64), starts)
    return np.divide(own, merged, out=np.zeros_like(own), where=merged > 0).astype(np.float32)
