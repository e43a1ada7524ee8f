"""Sums per cluster: what is added follows from a client's vector and name alone, and is taken out again exactly."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from updates import BOUNDS, SEED, SIZE, reply, vector

from clients.errors import InputError
from clients.exact.grid import FINE, to_grid
from strategies.state.cluster_sums import ClusterSums
from strategies.state.clusters import number
from strategies.state.kept import Kept

NAMES = ("a", "b", "c", "d", "e", "f")
ALL = [ClusterSums("vectors", 3), ClusterSums("dropped", share=0.5), ClusterSums("votes", 2, 0.25)]
Make = Callable[..., Kept]


def grid(client: str) -> np.ndarray:
    return to_grid(vector(client), FINE)


def sums_of(part: ClusterSums, clients: list[str], folder: Path = Path("nowhere")) -> ClusterSums:
    """The open part after these clients have joined."""
    kept = Kept(folder, "sign_fixed", BOUNDS, (part,), SEED)
    for client in clients:
        kept.absorb(reply((client,), (part,)))
    return kept[part]


def opened(part: ClusterSums, size: int = SIZE) -> ClusterSums:
    return Kept(Path("nowhere"), "sign_fixed", (0, size), (part,), SEED)[part]


@pytest.mark.parametrize("part", ALL, ids=lambda part: part.name)
@settings(max_examples=20, deadline=None)
@given(order=st.permutations(NAMES), leaving=st.sets(st.sampled_from(NAMES)))
def test_add_then_subtract_is_never_added(
    tmp_path_factory: pytest.TempPathFactory, part: ClusterSums, order: list[str], leaving: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("sums")
    sums = sums_of(part, order, folder / "one")
    assert isinstance(sums.kept, Kept)
    for client in sorted(leaving):
        assert sums.cluster(client) == number(client, part.count, SEED)
        sums.take_out(client, grid(client))
        sums.kept.erase(client)
    never = sums_of(part, [client for client in NAMES if client not in leaving], folder / "two")
    assert sums.digest() == never.digest()
    for each in (sums, never):
        each.kept.save()  # type: ignore[attr-defined]
    assert sums.kept.store.read(sums.file) == never.kept.store.read(never.file)
    assert Kept(folder / "one", "sign_fixed", BOUNDS, (part,), SEED).load()[part].digest() == never.digest()


def test_means_by_hand() -> None:
    part = ALL[0]
    sums = sums_of(part, list(NAMES))
    groups = {k: [client for client in NAMES if number(client, 3, SEED) == k] for k in range(3)}
    assert {k: len(group) for k, group in groups.items() if group} == sums.counts
    for k, group in groups.items():
        right = sum((grid(client).astype(np.float64) for client in group), np.zeros(SIZE)) / 2**32 / max(1, len(group))
        np.testing.assert_array_equal(sums.direction(str(k)), right.astype(np.float32))
        np.testing.assert_array_equal(sums.kept.direction(f"vectors-3-1.0/{k}"), sums.direction(str(k)))  # type: ignore[attr-defined]
    everybody = np.sum([grid(client) for client in NAMES], axis=0) / 2**32 / len(NAMES)
    np.testing.assert_array_equal(sums.direction(""), everybody.astype(np.float32))
    np.testing.assert_array_equal(sums.kept.direction("vectors-3-1.0"), sums.direction(""))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(opened(part).direction(""), np.zeros(SIZE))


def test_votes_count_the_largest_entries() -> None:
    sums = sums_of(ClusterSums("votes", share=0.25), list(NAMES))
    right = np.zeros(SIZE, dtype=int)
    for client in NAMES:
        size = np.abs(vector(client))
        right[np.argsort(-size)[: round(0.25 * np.count_nonzero(size))]] += 1
    np.testing.assert_array_equal(sums.totals[0], right)


def test_votes_take_the_fewest_bytes_that_hold_them(tmp_path: Path) -> None:
    for count, width in ((1, 1), (255, 1), (256, 2), (65536, 4)):
        assert ClusterSums("votes").stored(count, FINE).itemsize == width
    sums = sums_of(ALL[2], list(NAMES), tmp_path)
    sums.save()
    assert 2 * SIZE < len(sums.kept.store.read(sums.file)) < 2 * SIZE + 250  # two clusters, a byte a counter


def test_about_half_is_dropped_and_each_client_drops_its_own() -> None:
    ones = np.ones(10_000, dtype=np.int64)
    dropping = opened(ClusterSums("dropped", share=0.5), ones.size)
    kept = {client: dropping.contribution(client, ones) for client in "ab"}
    again = opened(ClusterSums("dropped", share=0.5), ones.size).contribution("a", 7 * ones)
    np.testing.assert_array_equal(again, 7 * kept["a"])
    for left in kept.values():
        assert set(left.tolist()) == {0, 1}
        assert abs(left.mean() - 0.5) < 0.03  # six standard deviations
    assert abs((kept["a"] * kept["b"]).mean() - 0.25) < 0.03
    assert (opened(ClusterSums("dropped", share=0.0), ones.size).contribution("a", ones) == 1).all()


def test_other_files_are_refused(make_kept: Make) -> None:
    part = ALL[0]
    kept = make_kept((part,))
    kept.absorb(reply(("a",), (part,)))
    kept.save()
    counts = np.array([[0, 1]])
    for content in (
        {"counts": counts},
        {"0": np.zeros(SIZE - 1, dtype=np.int64), "counts": counts},
        {"0": np.zeros(SIZE, dtype=np.int32), "counts": counts},
        {"0": np.zeros(SIZE, dtype=np.int64)},
        {"0": np.zeros(SIZE, dtype=np.int64), "counts": counts[0]},
    ):
        save_file(content, kept.folder / "vectors-3-1.0.safetensors")
        with pytest.raises(InputError, match=r"vectors-3-1\.0\.safetensors: not the sums of vectors-3-1\.0"):
            Kept(kept.folder, "sign_fixed", BOUNDS, (part,), SEED).load()
    save_file({"0": np.zeros(SIZE, dtype=np.int64), "counts": np.array([[0, 2]])}, kept.store.path(kept[part].file))
    with pytest.raises(InputError, match=r"vectors-3-1\.0\.safetensors: damaged: its sums are not of 1 vectors"):
        Kept(kept.folder, "sign_fixed", BOUNDS, (part,), SEED).load()
    with pytest.raises(InputError, match="holds 0 to 65536 vectors, not -1"):
        opened(part).take_out("a", grid("a"))
