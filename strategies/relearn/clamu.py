"""ClAMU (seed document 003): clusters of clients, one optimised mask per cluster on the merged sum.

Serve client t of cluster k: θ0 + m_k ⊙ (s·Σ/T), m_k learned on the members' training data (``clients.work.masking``);
anybody else: θ0 + Σ/T. Forget u: subtract τ_u, then cluster and learn every mask again from the current members alone.

Deviations and additions: s is a factor on the mean, fixed beforehand. ``tuning: sign_fixed`` (ours) merges sign-fixed task
vectors: tuning rule and mask rule are independent. ``clusters: clients`` learns one mask per client. Affinity: of task
vectors (their inner products are kept, T² numbers, so that clustering again needs no vector; computing them when a client
joins needs all vectors at hand), of features (a few numbers per client, from its own data under θ0; centred on the
current members' mean, without which all cosines are near 1), or random (a hash of
the client's name). Clusters are never frozen: that would not be exact. Masks of a cluster are learned in one place.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from clients.jobs import mask_job
from clients.work.served import Masked, Served
from strategies.state import clusters
from strategies.state.affinity import Features, Gram
from strategies.state.kept import Kept
from strategies.state.part import Part
from strategies.state.sum import MEAN, Sum
from strategies.strategy import Ask, Deletion, RuledParameters, Strategy


class ClamuParameters(RuledParameters):
    """``scale``: factor s on the mean; ``steps`` and ``lr``: of learning a mask (Adam on scores)."""

    clusters: Annotated[int, Field(ge=1)] | Literal["clients"] = 8
    affinity: Literal["task_vectors", "features", "random"] = "features"
    scale: float = Field(2.5, gt=0)
    steps: int = Field(30, ge=1)
    lr: float = Field(0.05, gt=0)


class Clamu(Strategy[ClamuParameters]):
    deletion: ClassVar[Deletion] = "relearn"

    @property
    def parts(self) -> tuple[Part, ...]:
        p = self.parameters
        near: dict[str, tuple[Part, ...]] = {"features": (Features(),), "task_vectors": (Gram(),)}
        return (Sum(), *(near.get(p.affinity, ()) if p.clusters != "clients" else ()))

    def localize(self, kept: Kept, ask: Ask) -> None:
        p = self.parameters
        found = self._clusters(kept)
        for k, reply in ask(kept, [mask_job(cluster, MEAN, p.scale, p.steps, p.lr) for cluster in found]):
            self.keep_mask(f"cluster-{k}", reply.arrays["mask"])
        self.erase_masks(but=[f"cluster-{k}" for k in range(len(found))])
        self.chosen["clusters"] = found

    def serve(self, kept: Kept, client: str) -> Served:
        for k, cluster in enumerate(self.chosen.get("clusters", [])):
            if client in cluster and client in kept.members:
                return Masked(MEAN, scale=self.parameters.scale, mask=self.mask(f"cluster-{k}"))
        return Masked(MEAN)

    def _clusters(self, kept: Kept) -> clusters.Clusters:
        p, members = self.parameters, sorted(kept.members)
        if p.clusters == "clients" or p.clusters >= len(members):
            return clusters.singletons(members)
        if p.affinity == "random":
            return clusters.hashed(members, p.clusters, self.seed)
        near = kept[Gram()] if p.affinity == "task_vectors" else kept[Features()]
        return near.clusters(p.clusters)
