"""ClAMU (seed document 003): clusters of clients, one optimised mask per cluster on the merged sum.

Serve client t of cluster k: θ0 + m_k ⊙ (s·Σ/T), m_k learned on the members' training data (``clients.work.masking``); anybody
else: θ0 + Σ/T. Forget u: subtract τ_u, then cluster and learn every mask again from the current members alone.

Deviations and additions: s is a factor on the mean, fixed beforehand. ``tuning: sign_fixed`` (ours) merges sign-fixed task
vectors: tuning rule and mask rule are independent. ``clusters: clients`` learns one mask per client. Affinity: of task
vectors (their inner products are kept, T² numbers, so that clustering again needs no vector; computing them when a client
joins needs all vectors at hand), of features (a few numbers per client, from its own data under θ0; centred on the
current members' mean, without which all cosines are near 1), or random (a hash of
the client's name). Clusters are never frozen: that would not be exact. Masks of a cluster are learned in one place.
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from clients.jobs import Served, mask_job
from clients.settings import TuningKind
from strategies.state import clusters
from strategies.state.kept import Keeps, Kept
from strategies.strategy import Ask, Deletion, Parameters, Strategy


class ClamuParameters(Parameters):
    """``scale``: factor s on the mean; ``steps`` and ``lr``: of learning a mask (Adam on scores)."""

    tuning: TuningKind = "plain"
    clusters: Annotated[int, Field(ge=1)] | Literal["clients"] = 8
    affinity: Literal["task_vectors", "features", "random"] = "features"
    scale: float = Field(2.5, gt=0)
    steps: int = Field(30, ge=1)
    lr: float = Field(0.05, gt=0)


class Clamu(Strategy[ClamuParameters]):
    deletion: ClassVar[Deletion] = "relearn"

    @property
    def tuning(self) -> TuningKind:
        return self.parameters.tuning

    @property
    def keeps(self) -> Keeps:
        clustered = self.parameters.clusters != "clients"
        affinity = self.parameters.affinity
        return Keeps(
            sum=True,
            features=clustered and affinity == "features",
            gram=clustered and affinity == "task_vectors",
        )

    def localize(self, kept: Kept, ask: Ask) -> None:
        p = self.parameters
        found = self._clusters(kept)
        for k, reply in ask(kept, [mask_job(cluster, "mean", p.scale, p.steps, p.lr) for cluster in found]):
            self.keep_mask(f"cluster-{k}", reply.arrays["mask"])
        self.erase_masks(but=[f"cluster-{k}" for k in range(len(found))])
        self.chosen["clusters"] = found

    def serve(self, kept: Kept, client: str) -> Served:
        for k, cluster in enumerate(self.chosen.get("clusters", [])):
            if client in cluster and client in kept.members:
                return Served("mean", scale=self.parameters.scale, mask=self.mask(f"cluster-{k}"))
        return Served("mean")

    def _clusters(self, kept: Kept) -> clusters.Clusters:
        p, members = self.parameters, sorted(kept.members)
        if p.clusters == "clients" or p.clusters >= len(members):
            return clusters.singletons(members)
        if p.affinity == "random":
            return clusters.hashed(members, p.clusters, self.seed)
        if p.affinity == "task_vectors":
            return clusters.spectral(members, kept.gram(members), p.clusters, self.seed)
        features = np.array([kept.part("features", client) for client in members], dtype=np.float64)
        centred = features - features.mean(0)
        gram = np.array([[float((a * b).sum()) for b in centred] for a in centred])
        return clusters.spectral(members, gram, p.clusters, self.seed)
