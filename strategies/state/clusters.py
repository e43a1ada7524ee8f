"""Clusters of clients, as a function of the current members only, whatever order they came in.

Spectral clustering (``sklearn.cluster.SpectralClustering``) on (1 + cosine)/2 of task vectors or of features; or a hash of
seed and client name; or the anchor that a client's own data are nearest to (``clients.work.anchors``). Where clusters
are lists they are ordered by their first member.
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import numpy as np

from clients.exact import digest

Clusters = list[list[str]]
By = Literal["hash", "anchor"]
"""What numbers a client's cluster: a hash of its name, or the anchor that its own data are nearest to."""


def spectral(clients: list[str], gram: np.ndarray, clusters: int, seed: int) -> Clusters:
    """Fewer clusters than clients, by inner products; float64 [n, n], rows as ``clients``."""
    from sklearn.cluster import SpectralClustering
    from threadpoolctl import threadpool_limits

    if clusters == 1:
        return [sorted(clients)]
    length = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
    affinity = np.clip((1 + gram / np.outer(length, length)) / 2, 0, 1)
    model = SpectralClustering(clusters, affinity="precomputed", random_state=seed, assign_labels="cluster_qr")
    with threadpool_limits(1):
        labels = model.fit_predict(affinity)
    return _ordered(clients, [int(label) for label in labels])


def hashed(clients: list[str], clusters: int, seed: int) -> Clusters:
    """Random clusters that depend on each client's own name alone."""
    return _ordered(clients, [number(client, clusters, seed) for client in clients])


@lru_cache(maxsize=1 << 17)  # a plan asks for the same ones at every release
def number(client: str, clusters: int, seed: int) -> int:
    """The number of a client's random cluster, from 0."""
    return int(digest.of_json([seed, client])[:15], 16) % clusters


def grouped(numbers: Mapping[str, int]) -> dict[str, list[str]]:
    """The members of each cluster that somebody is in, by the name ``cluster-NUMBER``."""
    groups = defaultdict(list)
    for client in sorted(numbers):
        groups[f"cluster-{numbers[client]}"].append(client)
    return dict(sorted(groups.items()))


def dealt(clients: list[str], clusters: int) -> Clusters:
    """As many clusters as asked for, of equal sizes: what a dry run has in the place of spectral ones."""
    return _ordered(clients, [place % clusters for place in range(len(clients))])


def singletons(clients: list[str]) -> Clusters:
    """One cluster per client."""
    return [[client] for client in sorted(clients)]


def _ordered(clients: list[str], labels: list[int]) -> Clusters:
    members = defaultdict(list)
    for client, label in zip(clients, labels, strict=True):
        members[label].append(client)
    return sorted(sorted(cluster) for cluster in members.values())
