"""Vote masks (ours): one mask per cluster of clients, by vote of the members' own masks; exact by subtraction.

Sign-fixed tuning; c_k = Σ_{t in k} m_t with m_t the largest ρ of τ_t's non-zero entries; m_k = 1{c_k ≥ q·T_k and c_k > 0}.
Serve client t of cluster k: θ0 + α · m_k ⊙ Σ/T; anybody else: θ0 + Σ/T. A client's cluster is a hash of its name, or by
``anchor`` the public point that its own data are nearest to (``clients.work.anchors``). Forget u: derive τ_u again, subtract
it from Σ and its mask from c_k: no mask is learned again.

α is chosen on the current members' validation data. The server makes m_t from τ_t on the grid, so that a deletion subtracts
the mask that was added; no client's mask is kept.
"""

import math
from typing import Annotated, ClassVar

from pydantic import Field

from clients.data.manifest import Manifest
from clients.exact import bits
from clients.work import anchors
from clients.work.served import Masked, Served
from strategies.scale import Scales, choose_scale, grid_of
from strategies.state.cluster_sums import ClusterSums
from strategies.state.clusters import By
from strategies.state.kept import Kept
from strategies.state.part import Part
from strategies.state.sum import MEAN, Sum
from strategies.strategy import Ask, Deletion, Parameters, Strategy


class VoteMasksParameters(Parameters):
    """``clusters``: how many; ``by``: what numbers a client's; ``keep``: ρ; ``quorum``: q, the share of members; ``alpha``:
    scale of the mean, or a grid."""

    clusters: int = Field(8, ge=1)
    by: By = "hash"
    keep: Annotated[float, Field(gt=0, le=1)] = 0.5
    quorum: Annotated[float, Field(ge=0, le=1)] = 0.5
    alpha: Scales = (1.0, 1.5, 2.0, 2.5, 3.0)


class VoteMasks(Strategy[VoteMasksParameters]):
    deletion: ClassVar[Deletion] = "subtract"
    rule = "sign_fixed"

    @property
    def parts(self) -> tuple[Part, ...]:
        return (Sum(), self._votes)

    @property
    def _votes(self) -> ClusterSums:
        p = self.parameters
        return ClusterSums("votes", p.clusters, p.keep, p.by)

    def check(self, manifest: Manifest) -> None:
        if self.parameters.by == "anchor":
            anchors.check(manifest.public, self.parameters.clusters)

    def localize(self, kept: Kept, ask: Ask) -> None:
        votes = kept[self._votes]
        for k, count in votes.counts.items():
            least = max(1, math.ceil(self.parameters.quorum * count - 1e-9))  # 0.1 of 30 is 3, not a bit more
            self.keep_mask(f"cluster-{k}", bits.pack(votes.totals[k] >= least))
        self.erase_masks(but=[f"cluster-{k}" for k in votes.counts])
        self.chosen["alpha"] = choose_scale(self, kept, ask, grid_of(self.parameters.alpha))

    def serve(self, kept: Kept, client: str) -> Served:
        if client not in kept.members:
            return Masked(MEAN)
        k = kept[self._votes].cluster(client)
        return Masked(MEAN, scale=self.chosen.get("alpha", 1.0), mask=self.mask(f"cluster-{k}"))
