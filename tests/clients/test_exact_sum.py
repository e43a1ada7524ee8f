from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from clients.errors import InputError
from clients.exact.exact_sum import ExactSum
from clients.exact.grid import FINE, MOST_VECTORS, from_grid, to_grid

SIZE = 5
LARGEST = float(np.nextafter(np.float32(2**15), np.float32(0)))
ENTRIES = st.floats(-LARGEST, LARGEST, width=32) | st.floats(-(2.0**-28), 2.0**-28, width=32)
VECTORS = st.lists(ENTRIES, min_size=SIZE, max_size=SIZE).map(lambda entries: np.array(entries, dtype=np.float32))


def plain_grid(vector: np.ndarray) -> list[int]:
    """Python integers: round() of a Fraction rounds half to even."""
    return [round(Fraction(float(entry)) * 2**32) for entry in vector]


def plain_sum(vectors: list[np.ndarray]) -> list[int]:
    return [sum(column) for column in zip(*map(plain_grid, vectors), strict=True)] or [0] * SIZE


def sum_of(vectors: list[np.ndarray]) -> ExactSum:
    total = ExactSum(SIZE)
    for vector in vectors:
        total.add(vector)
    return total


@given(VECTORS)
def test_grid_is_the_rounded_fraction(vector: np.ndarray) -> None:
    assert to_grid(vector, FINE).tolist() == plain_grid(vector)


@pytest.mark.parametrize(
    ("entry", "grid"),
    [
        (0.0, 0),
        (-0.0, 0),
        (1.0, 2**32),
        (-1.5, -3 * 2**31),
        (2.0**-32, 1),
        (2.0**-33, 0),  # half: to even
        (3 * 2.0**-33, 2),
        (5 * 2.0**-33, 2),
        (-(2.0**-33), 0),
        (-3 * 2.0**-33, -2),
        (-5 * 2.0**-33, -2),
        (1.0000001 * 2.0**-33, 1),
        (1e-45, 0),  # the smallest denormal
        (-1e-40, 0),
        (LARGEST, 2**47 - 2**23),
        (-LARGEST, -(2**47) + 2**23),
        (0.1, 429496736),  # fp32(0.1) = 13421773 / 2^27
    ],
)
def test_grid_by_hand(entry: float, grid: int) -> None:
    assert to_grid(np.array([entry], dtype=np.float32), FINE).tolist() == [grid]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 2 * 65536, 3 * 65536 + 7])
def test_blocks_join_without_a_seam(size: int) -> None:
    integers = np.random.default_rng(size).integers(-(2**23), 2**23, size)
    vector = (integers * 2.0**-32).astype(np.float32)  # exact: 24 bits fit fp32
    total = ExactSum(size)
    total.add(vector)
    np.testing.assert_array_equal(total.total, integers)
    total.add(vector[::-1])  # a view that is not contiguous
    np.testing.assert_array_equal(total.total, integers + integers[::-1])
    total.subtract(vector)
    np.testing.assert_array_equal(total.total, integers[::-1])
    np.testing.assert_array_equal(from_grid(to_grid(vector, FINE), FINE), vector)


@given(st.lists(st.tuples(VECTORS, st.booleans()), max_size=8), st.randoms(use_true_random=False))
def test_any_history_is_the_plain_sum_of_who_is_left(members: list[tuple[np.ndarray, bool]], random: Any) -> None:
    """Adds in any order, each leaver subtracted at any later moment."""
    total, waiting, leaving = ExactSum(SIZE), list(members), []
    while waiting or leaving:
        if waiting and (not leaving or random.random() < 0.6):
            vector, leaves = waiting.pop(random.randrange(len(waiting)))
            total.add(vector)
            leaving += [vector] if leaves else []
        else:
            total.subtract(leaving.pop(random.randrange(len(leaving))))
    stayed = [vector for vector, leaves in members if not leaves]
    assert total.total.tolist() == plain_sum(stayed)
    assert total.count == len(stayed)
    assert total.digest() == sum_of(stayed).digest()


@given(st.lists(st.tuples(VECTORS, st.integers(0, 2)), max_size=8), st.permutations(range(3)))
def test_any_grouping_is_the_plain_sum(members: list[tuple[np.ndarray, int]], order: list[int]) -> None:
    """Partial sums of three cohorts, some of them empty, merged in any order; then one is taken out as a whole."""
    partial = [sum_of([vector for vector, group in members if group == cohort]) for cohort in range(3)]
    total = ExactSum(SIZE)
    for cohort in order:
        total.merge(partial[cohort].total, partial[cohort].count)
    assert total.total.tolist() == plain_sum([vector for vector, _ in members])
    assert total.digest() == sum_of([vector for vector, _ in members]).digest()
    total.merge(partial[order[0]].total, -partial[order[0]].count)
    assert total.digest() == sum_of([vector for vector, group in members if group != order[0]]).digest()


@given(st.lists(VECTORS, max_size=4), VECTORS)
def test_subtract_is_the_exact_inverse(vectors: list[np.ndarray], vector: np.ndarray) -> None:
    total = sum_of(vectors)
    before = total.digest()
    total.add(vector)
    total.subtract(vector)
    assert total.digest() == before


def test_digest_tells_sums_and_counts_apart() -> None:
    zeros, ones = np.zeros(SIZE, dtype=np.float32), np.ones(SIZE, dtype=np.float32)
    sums = [sum_of([]), sum_of([zeros]), sum_of([ones]), sum_of([ones, -ones]), sum_of([ones, ones])]
    assert len({total.digest() for total in sums}) == len(sums)


def test_mean_by_hand() -> None:
    total = sum_of([np.array([1, 2, 3, -4, 0.5], dtype=np.float32), np.array([2, 2, -3, -4, 0], dtype=np.float32)])
    assert total.mean().tolist() == [1.5, 2, 0, -4, 0.25]
    assert total.mean().dtype == np.float32
    assert ExactSum(SIZE).mean().tolist() == [0.0] * SIZE
    thirds = from_grid(np.array([2**32]), FINE, 3)
    assert thirds.tolist() == [float(np.float32(1 / 3))]


BAD_VECTORS = {
    "nan": np.array([0, np.nan, 0, 0, 0], dtype=np.float32),
    "inf": np.array([0, 0, 0, 0, np.inf], dtype=np.float32),
    "minus inf": np.array([-np.inf, 0, 0, 0, 0], dtype=np.float32),
    "too large": np.array([2**15, 0, 0, 0, 0], dtype=np.float32),
    "too small": np.array([0, 0, 0, 0, -(2**15)], dtype=np.float32),
    "short": np.ones(SIZE - 1, dtype=np.float32),
    "long": np.ones(SIZE + 1, dtype=np.float32),
    "matrix": np.ones((1, SIZE), dtype=np.float32),
    "float16": np.ones(SIZE, dtype=np.float16),
    "int64": np.ones(SIZE, dtype=np.int64),
}


@pytest.mark.parametrize("kind", BAD_VECTORS)
def test_refused_vectors_leave_the_sum_unchanged(kind: str) -> None:
    total = sum_of([np.arange(SIZE, dtype=np.float32)] * 2)
    before = total.digest()
    for change in (total.add, total.subtract):
        with pytest.raises(InputError):
            change(BAD_VECTORS[kind])
        assert total.digest() == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -(2.0**15)])
@pytest.mark.parametrize("place", [0, 65535, 65536, 3 * 65536])
def test_a_bad_entry_in_a_late_block_leaves_the_sum_unchanged(value: float, place: int) -> None:
    random = np.random.default_rng(place)
    good = random.standard_normal(3 * 65536 + 1).astype(np.float32)
    total = ExactSum(good.size)
    total.add(good)
    before, bad = total.total.copy(), random.standard_normal(good.size).astype(np.float32)
    bad[place] = value
    for change in (total.add, total.subtract):
        with pytest.raises(InputError, match="NaN, infinite or"):
            change(bad)
        np.testing.assert_array_equal(total.total, before)
        assert total.count == 1
    with pytest.raises(InputError):
        to_grid(bad, FINE)


def test_counts_have_limits() -> None:
    ones = np.ones(SIZE, dtype=np.float32)
    empty, full = ExactSum(SIZE), ExactSum(SIZE)
    with pytest.raises(InputError, match="not -1"):
        empty.subtract(ones)
    assert (empty.count, empty.total.tolist()) == (0, [0] * SIZE)
    full.merge(to_grid(ones, FINE) * MOST_VECTORS, MOST_VECTORS)
    before = full.digest()
    with pytest.raises(InputError, match="65537"):
        full.add(ones)
    assert full.digest() == before


def test_the_fullest_sum_does_not_overflow() -> None:
    full, most = ExactSum(1), MOST_VECTORS
    grid = to_grid(np.array([LARGEST], dtype=np.float32), FINE)
    full.merge(grid * most, most)
    assert full.total.tolist() == [(2**47 - 2**23) * 2**16]
    assert full.mean().tolist() == [LARGEST]


@pytest.mark.parametrize(
    ("grid", "count"),
    [
        (np.ones(SIZE, dtype=np.int32), 1),
        (np.ones(SIZE, dtype=np.uint64), 1),
        (np.ones(SIZE, dtype=np.float64), 1),
        (np.ones(SIZE + 1, dtype=np.int64), 1),
        (np.full(SIZE, 2**47, dtype=np.int64), 1),
        (np.full(SIZE, -(2**47), dtype=np.int64), 1),
        (np.full(SIZE, -(2**63), dtype=np.int64), 3),
        (np.full(SIZE, 1, dtype=np.int64), 0),
        (np.zeros(SIZE, dtype=np.int64), -3),
        (np.zeros(SIZE, dtype=np.int64), 2**16),
    ],
)
def test_refused_partial_sums_leave_the_sum_unchanged(grid: np.ndarray, count: int) -> None:
    total = sum_of([np.arange(SIZE, dtype=np.float32)] * 2)
    before = total.digest()
    with pytest.raises(InputError):
        total.merge(grid, count)
    assert total.digest() == before


@settings(max_examples=20)
@given(st.lists(VECTORS, max_size=3))
def test_save_and_load(tmp_path_factory: pytest.TempPathFactory, vectors: list[np.ndarray]) -> None:
    total, path = sum_of(vectors), tmp_path_factory.mktemp("sum") / "sum.safetensors"
    path.write_bytes(total.to_bytes())
    loaded = ExactSum.load(path)
    assert loaded.digest() == total.digest()
    loaded.add(np.ones(SIZE, dtype=np.float32))  # it can be gone on with
    total.add(np.ones(SIZE, dtype=np.float32))
    assert loaded.digest() == total.digest()


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "sum.safetensors"
    with pytest.raises(InputError, match=r"sum\.safetensors: cannot be read"):
        ExactSum.load(path)
    whole = sum_of([np.ones(SIZE, dtype=np.float32)]).to_bytes()
    for damaged in (b"", whole[:7], whole[:-1], whole[:40], b"\x80\x04." + whole):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read as safetensors"):
            ExactSum.load(path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"sum": np.zeros(3, dtype=np.int64)},
        {"sum": np.zeros(3, dtype=np.float32), "count": np.zeros(1, dtype=np.int64)},
        {"sum": np.zeros(3, dtype=np.int64), "count": np.zeros(0, dtype=np.int64)},
        {"sum": np.zeros(3, dtype=np.int64), "count": np.zeros(1, dtype=np.float32)},
        {"sum": np.zeros((3, 1), dtype=np.int64), "count": np.zeros(1, dtype=np.int64)},
        {"sum": np.zeros(3, dtype=np.int64), "count": np.array([-1])},
        {"sum": np.full(3, 2**48), "count": np.array([1])},
        {"sum": np.zeros(3, dtype=np.int32), "count": np.array([1])},
    ],
)
def test_files_that_hold_something_else(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    save_file(arrays, tmp_path / "other.safetensors")
    with pytest.raises(InputError):
        ExactSum.load(tmp_path / "other.safetensors")
