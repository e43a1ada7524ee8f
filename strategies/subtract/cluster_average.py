"""Cluster average: one exact mean per cluster of clients. Serve client t of cluster k θ0 + Σ_k/T_k, anybody else θ0 + Σ/T.

A client's cluster is a hash of its name, or by ``anchor`` the public point that its own data are nearest to
(``clients.work.anchors``): nobody else decides it, so forgetting u is a subtraction from its cluster's sum alone; storage
K·M. Σ/T is made of the clusters' sums.
"""

from typing import ClassVar

from pydantic import Field

from clients.data.manifest import Manifest
from clients.work import anchors
from clients.work.served import Masked, Served
from strategies.state.cluster_sums import ClusterSums
from strategies.state.clusters import By
from strategies.state.kept import Kept
from strategies.state.part import Part
from strategies.strategy import Deletion, RuledParameters, Strategy


class ClusterAverageParameters(RuledParameters):
    """``clusters``: how many; ``by``: what numbers a client's."""

    clusters: int = Field(8, ge=1)
    by: By = "hash"


class ClusterAverage(Strategy[ClusterAverageParameters]):
    deletion: ClassVar[Deletion] = "subtract"

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self._sums,)

    @property
    def _sums(self) -> ClusterSums:
        return ClusterSums("vectors", self.parameters.clusters, by=self.parameters.by)

    def check(self, manifest: Manifest) -> None:
        if self.parameters.by == "anchor":
            anchors.check(manifest.public, self.parameters.clusters)

    def serve(self, kept: Kept, client: str) -> Served:
        if client not in kept.members:
            return Masked(self._sums.name)
        return Masked(f"{self._sums.name}/{kept[self._sums].cluster(client)}")
