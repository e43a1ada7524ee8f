"""SIFT-Masks (arXiv 2504.04626): sign-fixed tuning, one local mask per client, one merged sum.

m_t = 1{τ_t ⊙ v > 0}; serve client t: θ0 + α·(m_t ⊙ Σ)/T; anybody else: θ0 + Σ/T. Forget u: subtract τ_u, erase m_u.

Deviations and additions: α is chosen on validation data at every release, from the current members alone (the paper
does not say when). ``keep`` ρ < 1 (ours): m_t keeps only the client's own largest share ρ of its non-zero entries.
``scale: counts`` (ours): serve (m_t ⊙ Σ)/c with the mask counts c = Σ_t m_t instead of /T; c is subtractable too.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from clients.jobs import Served
from clients.settings import TuningKind
from strategies.kept import Keeps, Kept
from strategies.scale import choose_scale
from strategies.strategy import Ask, Deletion, Parameters, Strategy

PAPER_GRID = (0.8, 1.0, 1.2, 1.4, 1.6)
WIDE_GRID = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0)


class SiftMasksParameters(Parameters):
    """``keep``: share ρ of a client's own mask; ``alpha``: scale or grid; ``scale``: divide by clients or by counts."""

    keep: Annotated[float, Field(gt=0, le=1)] = 1.0
    alpha: float | tuple[float, ...] | None = Field(
        None, description="scale, or a grid of them; default the paper's grid at keep 1, a wider one below"
    )
    scale: Literal["clients", "counts"] = "clients"

    @property
    def grid(self) -> tuple[float, ...]:
        if isinstance(self.alpha, tuple):
            return self.alpha
        if self.alpha is not None:
            return (self.alpha,)
        return PAPER_GRID if self.keep == 1 else WIDE_GRID


class SiftMasks(Strategy[SiftMasksParameters]):
    deletion: ClassVar[Deletion] = "subtract"
    tuning: ClassVar[TuningKind] = "sign_fixed"

    @property
    def keeps(self) -> Keeps:
        keep = (self.parameters.keep,)
        return Keeps(sum=True, masks=keep, counts=keep if self.parameters.scale == "counts" else ())

    def localize(self, kept: Kept, ask: Ask) -> None:
        self.chosen["alpha"] = choose_scale(self, kept, ask, self.parameters.grid)

    def serve(self, kept: Kept, client: str) -> Served:
        if client not in kept.members:
            return Served("mean")
        keep = self.parameters.keep
        direction = f"counts/{keep:g}" if self.parameters.scale == "counts" else "mean"
        return Served(direction, scale=self.chosen.get("alpha", 1.0), mask=kept.mask(client, keep))
