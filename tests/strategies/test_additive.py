"""Sums per cluster: what is added follows from a client's vector and name alone, and is taken out again exactly."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from updates import SEED, SIZE, vector

from clients.errors import InputError
from clients.exact.exact_sum import to_grid
from strategies.state.cluster_sums import Additive, Sums
from strategies.state.clusters import number

NAMES = ("a", "b", "c", "d", "e", "f")
ALL = [
    Additive(of="vectors", clusters=3),
    Additive(of="dropped", share=0.5),
    Additive(of="votes", clusters=2, share=0.25),
]


def grid(client: str) -> np.ndarray:
    return to_grid(vector(client))


def sums_of(additive: Additive, clients: list[str]) -> Sums:
    sums = Sums(additive, SIZE, SEED)
    for client in clients:
        sums.fold(client, number(client, additive.clusters, SEED), grid(client), 1)
    return sums


@pytest.mark.parametrize("additive", ALL, ids=lambda a: a.name)
@settings(max_examples=20, deadline=None)
@given(order=st.permutations(NAMES), leaving=st.sets(st.sampled_from(NAMES)))
def test_add_then_subtract_is_never_added(additive: Additive, order: list[str], leaving: set[str]) -> None:
    sums = sums_of(additive, order)
    for client in sorted(leaving):
        sums.fold(client, number(client, additive.clusters, SEED), grid(client), -1)
    never = sums_of(additive, [client for client in NAMES if client not in leaving])
    assert sums.digest() == never.digest()
    assert sums.to_bytes() == never.to_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.safetensors"
        path.write_bytes(sums.to_bytes())
        assert Sums.load(path, additive, SIZE, SEED).digest() == never.digest()


def test_means_by_hand() -> None:
    additive = ALL[0]
    sums = sums_of(additive, list(NAMES))
    groups = {k: [client for client in NAMES if number(client, 3, SEED) == k] for k in range(3)}
    assert {k: len(group) for k, group in groups.items() if group} == sums.counts
    for k, group in groups.items():
        right = sum((grid(client).astype(np.float64) for client in group), np.zeros(SIZE)) / 2**32 / max(1, len(group))
        np.testing.assert_array_equal(sums.mean(k), right.astype(np.float32))
    everybody = np.sum([grid(client) for client in NAMES], axis=0) / 2**32 / len(NAMES)
    np.testing.assert_array_equal(sums.mean(), everybody.astype(np.float32))
    np.testing.assert_array_equal(Sums(additive, SIZE, SEED).mean(), np.zeros(SIZE))


def test_votes_count_the_largest_entries() -> None:
    sums = sums_of(Additive(of="votes", share=0.25), list(NAMES))
    right = np.zeros(SIZE, dtype=int)
    for client in NAMES:
        size = np.abs(vector(client))
        right[np.argsort(-size)[: round(0.25 * np.count_nonzero(size))]] += 1
    np.testing.assert_array_equal(sums.totals[0], right)


def test_votes_take_the_fewest_bytes_that_hold_them() -> None:
    for count, width in ((1, 1), (255, 1), (256, 2), (65536, 4)):
        assert Additive(of="votes").stored(count).itemsize == width
    assert 2 * SIZE < len(sums_of(ALL[2], list(NAMES)).to_bytes()) < 2 * SIZE + 250  # two clusters, a byte a counter


def test_about_half_is_dropped_and_each_client_drops_its_own() -> None:
    ones = np.ones(10_000, dtype=np.int64)
    kept = {client: Additive(of="dropped", share=0.5).contribution(client, ones, SEED) for client in "ab"}
    again = Additive(of="dropped", share=0.5).contribution("a", 7 * ones, SEED)
    np.testing.assert_array_equal(again, 7 * kept["a"])
    for left in kept.values():
        assert set(left.tolist()) == {0, 1}
        assert abs(left.mean() - 0.5) < 0.03  # six standard deviations
    assert abs((kept["a"] * kept["b"]).mean() - 0.25) < 0.03
    assert (Additive(of="dropped", share=0.0).contribution("a", ones, SEED) == 1).all()


def test_other_files_are_refused(tmp_path: Path) -> None:
    path, additive = tmp_path / "s.safetensors", ALL[0]
    counts = np.array([[0, 1]])
    for content in (
        {"counts": counts},
        {"0": np.zeros(SIZE - 1, dtype=np.int64), "counts": counts},
        {"0": np.zeros(SIZE, dtype=np.int32), "counts": counts},
        {"0": np.zeros(SIZE, dtype=np.int64)},
        {"0": np.zeros(SIZE, dtype=np.int64), "counts": counts[0]},
    ):
        save_file(content, path)
        with pytest.raises(InputError, match=r"s\.safetensors: not the sums of vectors-3-1\.0"):
            Sums.load(path, additive, SIZE, SEED)
    with pytest.raises(InputError, match="holds 0 to 65536 vectors, not -1"):
        Sums(additive, SIZE, SEED).fold("a", 0, grid("a"), -1)
