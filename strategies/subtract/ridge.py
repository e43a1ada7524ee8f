"""Ridge head: a linear head on the frozen model, solved from sums over all members. Nobody takes a gradient step.

    W_t = (ΣG + κ·G_t + λI)⁻¹ (ΣB + κ·B_t)          G = Σ φ φᵀ, B = Σ φ yᵀ over a client's training data
    serve client t: argmax_y W_t·φ(x) + mix · log p(y | x), p of the frozen model; anybody else: κ = 0

Forget u: ΣG ← ΣG − G_u, ΣB ← ΣB − B_u. With ``personal`` each member's own G and B are kept, so a deletion asks nobody;
without it κ is 0, and u derives them again in one pass over its data.

Sources: analytic federated learning (AFL, CVPR 2025); random features of RanPAC (NeurIPS 2023); exact federated unlearning
of ridge heads (arXiv 2603.12977), where deletion equals retraining to 1e-9. Deviations: sums are exact, so a deletion is
equal to the bit; φ is centred on public data and normalised (``clients.work.embedding``); κ and mix are ours. λ, κ and mix
are chosen together at every release, from the current members, on data that are not reported.
"""

from typing import Any, ClassVar

from pydantic import Field

from clients.work.served import BASE, Served
from clients.work.served import Ridge as RidgeHead
from strategies.ridge_head import HeadParameters, RidgeStrategy, Shares, condition
from strategies.state.grids import Grids, OwnSum
from strategies.state.kept import Kept
from strategies.state.part import Part
from strategies.state.sum import TOTAL, Sum
from strategies.strategy import Deletion


class RidgeParameters(HeadParameters):
    """``personal``: whether a member's own statistics count more; ``kappa``: κ, how often more, or a grid.
    ``ridge``: λ; ``mix``: weight of the frozen model's log-probabilities; each a number or a grid to choose from.
    ``features``: φ itself, or ``width`` random ReLU features of it."""

    personal: bool = True
    kappa: Shares = Field((0.0, 3.0, 10.0, 30.0, 100.0, 300.0), description="κ, or a grid; only where personal is true")


class Ridge(RidgeStrategy[RidgeParameters]):
    deletion: ClassVar[Deletion] = "subtract"
    reaches: ClassVar[str | None] = "nobody; without personal, the client who leaves"

    @property
    def parts(self) -> tuple[Part, ...]:
        return (Grids(), OwnSum()) if self.parameters.personal else (Sum(),)

    @property
    def kappas(self) -> Shares:
        return self.parameters.kappa if self.parameters.personal else 0.0

    def tell(self, kept: Kept) -> dict[str, Any]:
        return {"condition": condition(kept.direction(TOTAL)[: kept.bounds[1]], self.chosen["ridge"])}

    def serve(self, kept: Kept, client: str) -> Served:
        if not kept.members:
            return BASE
        own = kept[Grids()].values(client) if self.parameters.personal and client in kept.members else None
        return RidgeHead(self.settings, TOTAL, own, relu=self.parameters.relu)
