"""Clusters are a function of who is clustered, not of the order they come in."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.state import clusters

NAMES = [f"u{i}" for i in range(9)]
GROUPS = [["u0", "u3", "u6"], ["u1", "u4", "u7"], ["u2", "u5", "u8"]]


def gram(names: list[str]) -> np.ndarray:
    """Three groups of clients along three axes, with a little noise of each client's own."""
    rows = {}
    for i, name in enumerate(NAMES):
        rows[name] = np.eye(3)[i % 3] * (1 + i) + np.random.default_rng(i).normal(scale=0.05, size=3)
    stack = np.array([rows[name] for name in names])
    return stack @ stack.T


@settings(max_examples=20, deadline=None)
@given(st.permutations(NAMES))
def test_spectral_finds_the_groups_in_any_order(names: list[str]) -> None:
    assert clusters.spectral(names, gram(names), 3, seed=0) == GROUPS


def test_one_cluster_holds_all() -> None:
    assert clusters.spectral(NAMES, gram(NAMES), 1, seed=0) == [sorted(NAMES)]


@given(st.sets(st.sampled_from(NAMES)))
def test_hashed_clusters_depend_on_each_name_alone(present: set[str]) -> None:
    everybody = {client: k for k, cluster in enumerate(clusters.hashed(NAMES, 3, seed=1)) for client in cluster}
    together = {frozenset(c for c in present if everybody[c] == k) for k in range(3)} - {frozenset()}
    assert {frozenset(cluster) for cluster in clusters.hashed(sorted(present), 3, seed=1)} == together


def test_singletons_are_sorted() -> None:
    assert clusters.singletons(["b", "a"]) == [["a"], ["b"]]
