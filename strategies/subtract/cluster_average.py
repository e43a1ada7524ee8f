"""Cluster average: one exact mean per cluster of clients. Serve client t of cluster k θ0 + Σ_k/T_k, anybody else θ0 + Σ/T.

A client's cluster is a hash of its name, or by ``anchor`` the public point that its own data are nearest to
(``clients.work.anchors``): nobody else decides it, so forgetting u is a subtraction from its cluster's sum alone; storage K·M.
Σ/T is made of the clusters' sums.
"""

from typing import ClassVar

from pydantic import Field

from clients.data.dataset import Dataset
from clients.jobs import Served
from clients.settings import TuningKind
from clients.work import anchors
from strategies.state.cluster_sums import Additive
from strategies.state.clusters import By
from strategies.state.kept import Keeps, Kept
from strategies.strategy import Deletion, Parameters, Strategy


class ClusterAverageParameters(Parameters):
    """``tuning``: plain or sign_fixed; ``clusters``: how many; ``by``: what numbers a client's."""

    tuning: TuningKind = "plain"
    clusters: int = Field(8, ge=1)
    by: By = "hash"


class ClusterAverage(Strategy[ClusterAverageParameters]):
    deletion: ClassVar[Deletion] = "subtract"

    @property
    def tuning(self) -> TuningKind:
        return self.parameters.tuning

    @property
    def keeps(self) -> Keeps:
        return Keeps(additive=(self._sums,))

    @property
    def _sums(self) -> Additive:
        return Additive(of="vectors", clusters=self.parameters.clusters, by=self.parameters.by)

    def check(self, dataset: Dataset) -> None:
        if self.parameters.by == "anchor":
            anchors.check(dataset.public, self.parameters.clusters)

    def serve(self, kept: Kept, client: str) -> Served:
        if client not in kept.members:
            return Served(self._sums.name)
        return Served(f"{self._sums.name}/{kept.cluster(client, self.parameters.clusters, self.parameters.by)}")
