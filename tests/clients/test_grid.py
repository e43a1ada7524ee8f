"""Grids: types that hold the fullest sum, rounding in fp32 and float64, bounds that hold, digests that no type changes."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from clients.errors import InputError
from clients.exact import digest
from clients.exact.exact_sum import ExactSum, added
from clients.exact.grid import BLOCK, DOUBLE, FINE, SINGLE, Grid, add_to, from_grid, settle, to_grid

LIMITS = (1, 5, 1000, SINGLE - 1, SINGLE, 2**30, 2**40, DOUBLE - 1)


def plain(vector: np.ndarray, bits: int) -> list[int]:
    """Python integers: round() of a Fraction rounds half to even."""
    return [round(Fraction(float(entry)) * Fraction(2) ** bits) for entry in vector]


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Grids of both types, whose values take fp32 or float64 to round."""
    largest = draw(st.sampled_from(LIMITS) | st.integers(1, DOUBLE - 1))
    most = draw(st.integers(1, min((2**63 - 1) // largest, 10**6)))
    return Grid(draw(st.integers(-100, 140) | st.integers(10, 40)), largest, most)


@st.composite
def vectors_of(draw: st.DrawFn, grid: Grid, size: int = 3) -> np.ndarray:
    """Vectors of either type with entries on the grid, between its steps, halfway, and at its ends."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    steps = st.integers(-grid.largest, grid.largest) | st.integers(-min(9, grid.largest), min(9, grid.largest))
    between = st.sampled_from([0, 0.5, -0.5, 0.25, 0.4999999]) | st.floats(-0.5, 0.5)
    entries = [(draw(steps) + draw(between)) * 2.0**-grid.bits for _ in range(size)]
    vector = np.array(entries, dtype=dtype)
    outside = np.array([abs(steps) > grid.largest for steps in plain(vector, grid.bits)])
    return np.where(outside, dtype(0), vector)


@given(st.data(), grids())
def test_values_are_the_rounded_fractions_in_the_smallest_type(data: st.DataObject, grid: Grid) -> None:
    vector = data.draw(vectors_of(grid))
    values = to_grid(vector, grid)
    assert values.tolist() == plain(vector, grid.bits)
    assert values.dtype == (np.int32 if grid.most * grid.largest < 2**31 else np.int64)


@given(st.data(), grids())
def test_sums_are_pythons_in_any_order_and_give_the_rest_back(data: st.DataObject, grid: Grid) -> None:
    vectors = data.draw(st.lists(vectors_of(grid), max_size=min(4, grid.most)))
    left = data.draw(st.sets(st.integers(0, len(vectors) - 1)) if vectors else st.just(set()))
    total, other = ExactSum(3, grid), ExactSum(3, grid)
    for vector in vectors:
        total.add(vector)
    for vector in reversed(vectors):
        other.merge(to_grid(vector, grid), 1)
    assert total.digest() == other.digest()
    columns = [plain(vector, grid.bits) for vector in vectors]
    assert total.total.tolist() == [sum(column) for column in zip(*columns, strict=True)] or not vectors
    for number in left:
        total.subtract(vectors[number])
    rest = [column for number, column in enumerate(columns) if number not in left]
    assert total.total.tolist() == ([sum(column) for column in zip(*rest, strict=True)] or [0] * 3)
    assert (total.count, total.total.dtype) == (len(rest), grid.dtype)
    mean = [sum(column) / (max(len(rest), 1) * Fraction(2) ** grid.bits) for column in zip(*rest, strict=True)] or [0] * 3
    with np.errstate(over="ignore"):
        assert total.mean() == pytest.approx(np.array(mean, dtype=np.float64).astype(np.float32), rel=1e-6)


@given(st.data(), grids(), st.integers(1, 4), st.integers(1, 10**4))
def test_no_digest_depends_on_the_type(data: st.DataObject, grid: Grid, most: int, more: int) -> None:
    """Larger populations and larger bounds take int64 for the same numbers."""
    small = Grid(grid.bits, min(grid.largest, 2**20), most)
    vectors = [data.draw(vectors_of(small)) for _ in range(most)]
    large = Grid(grid.bits, min(small.largest * more, DOUBLE - 1), min(2**63 // DOUBLE - 1, most * more))
    sums = ExactSum(3, small), ExactSum(3, large)
    for vector in vectors:
        one, other = to_grid(vector, small), to_grid(vector, large)
        assert digest.of_integers(one) == digest.of_integers(other) == digest.of_integers(one.astype(np.int64))
        for total in sums:
            total.add(vector)
    assert sums[0].digest() == sums[1].digest()
    assert ExactSum(3, Grid(small.bits + 1 if small.bits < 140 else 0, 1)).digest() != ExactSum(3, small).digest()


def test_digests_of_integers_by_hand() -> None:
    for kind, entries in ((np.int8, [-128, 127]), (np.int16, [128, 0]), (np.int32, [0, -(2**31)]), (np.int64, [2**31, 0])):
        narrow = digest.of_array(np.array(entries, dtype=kind))
        assert digest.of_integers(np.array(entries)) == digest.of_integers(np.array(entries, dtype=kind)) == narrow
    assert digest.of_integers(np.zeros(2, dtype=np.uint8)) == digest.of_array(np.zeros(2, dtype=np.int8))
    assert digest.of_integers(np.zeros(0, dtype=np.int64)) == digest.of_integers(np.zeros(0, dtype=np.int32))
    assert len({digest.of_integers(np.array(entries)) for entries in ([0, 1], [1, 0], [1], [[0, 1]], [256, 1])}) == 5
    floats = np.zeros(2)
    assert digest.of_integers(floats) == digest.of_array(floats) != digest.of_integers(np.zeros(2, dtype=np.int64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("largest", [5, SINGLE - 1, SINGLE, 2**30, DOUBLE - 1])
@pytest.mark.parametrize("bits", [-60, 0, 23, 32, 126])
def test_every_entry_is_checked(dtype: type[np.floating], largest: int, bits: int) -> None:
    """The bound is taken, the next step is not; nor is anything that no number is."""
    grid, step = Grid(bits, largest, 1), 2.0**-bits
    edge, outside = dtype(largest), dtype(largest + 1)
    if float(edge) > largest:  # a bound need not be an fp32
        edge = np.nextafter(edge, dtype(0))
    if float(outside) < largest + 1:
        outside = np.nextafter(outside, dtype(np.inf))
    for sign in (1, -1):
        assert to_grid(np.array([sign * edge * step], dtype=dtype), grid).tolist() == [sign * round(float(edge))]
    finite = [
        float(outside) * step,
        (1.5 * largest + 1) * step,
        (3.0 * largest + 9) * step,
        1e38,
        float(np.finfo(dtype).max),
    ]
    beyond = np.array([entry for entry in finite if entry > grid.limit] + [np.inf], dtype=dtype)
    numberless = np.array([0x7F800001, 0xFF800001, 0x7FC00000, 0xFFFFFFFF], dtype=np.uint32).view(np.float32)
    if dtype is np.float64:
        numberless = np.array([0x7FF0 << 48 | 1, 0xFFF0 << 48 | 1, 2**64 - 1], dtype=np.uint64).view(np.float64)
    for entry in np.concatenate([beyond, -beyond, numberless]):
        vector = np.zeros(3, dtype=dtype)
        vector[1:2] = entry
        with pytest.raises(InputError, match="NaN, infinite or"):
            to_grid(vector, grid)


@pytest.mark.parametrize("grid", [Grid(23, 2**20, 200), Grid(23, 2**20, 2**40), Grid(30, 2**28, 3), FINE])
@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 2])
def test_a_late_bad_entry_leaves_the_total_as_it_was(grid: Grid, place: int) -> None:
    random = np.random.default_rng(place)
    good = random.normal(scale=0.01, size=2 * BLOCK + 3).astype(np.float32)
    total = to_grid(good, grid)
    before, bad = total.copy(), random.normal(scale=0.01, size=good.size).astype(np.float32)
    bad[place] = 2 * grid.limit
    for sign in (1, -1):
        with pytest.raises(InputError, match="NaN, infinite or"):
            add_to(total, bad, grid, sign)
        np.testing.assert_array_equal(total, before)
    owed = add_to(total, good[::-1], grid)
    settle(total, owed)
    np.testing.assert_array_equal(total, before + before[::-1].astype(np.int64))
    assert add_to(total, good[::-1], grid, -1) == -owed
    settle(total, -owed)
    np.testing.assert_array_equal(total, before)


def test_types_and_counters_at_their_edges() -> None:
    assert [Grid(0, largest, most).dtype for largest, most in ((2**20, 2**11), (2**20, 2**11 - 1), (2**31 - 1, 1))] == [
        np.int64, np.int32, np.int32
    ]  # fmt: skip
    assert [Grid(0, 1, most).counter for most in (1, 255, 256, 65535, 65536)] == [
        np.uint8, np.uint8, np.uint16, np.uint16, np.uint32
    ]  # fmt: skip
    assert (FINE.dtype, FINE.limit, Grid(3, 5).limit) == (np.int64, float(np.nextafter(np.float32(2**15), 0)), 0.625)
    full = ExactSum(1, Grid(0, 2**31 // 7, 7))
    for sign in (1, -1):
        for _ in range(7):
            full.add(np.array([sign * (2**31 // 7)], dtype=np.float64))
        assert full.total.tolist() == [sign * 7 * (2**31 // 7)]
        full = ExactSum(1, full.grid)


@pytest.mark.parametrize(
    ("bits", "largest", "most"), [(0, 0, 1), (0, 2**51, 1), (0, 2**47, 2**16), (-101, 1, 1), (141, 1, 1), (0, 1, 0)]
)
def test_grids_that_cannot_be(bits: int, largest: int, most: int) -> None:
    with pytest.raises(InputError, match=r"do not fit int64|has -100 to 140 bits"):
        Grid(bits, largest, most)


def test_sums_refuse_other_types_and_more_than_the_population(tmp_path: Path) -> None:
    grid = Grid(4, 100, 2)
    total, ones = ExactSum(2, grid), np.ones(2, dtype=np.float32)
    total.add(ones)
    total.add(-ones)
    with pytest.raises(InputError, match="holds 0 to 2 vectors, not 3"):
        total.add(ones)
    with pytest.raises(InputError, match="must be int32 grid values, not int64"):
        ExactSum(2, grid).merge(np.zeros(2, dtype=np.int64), 1)
    with pytest.raises(InputError, match=r"entries beyond 1 x 6\.25"):
        ExactSum(2, grid).merge(np.full(2, 101, dtype=np.int32), 1)
    path = tmp_path / "sum.safetensors"
    path.write_bytes(total.to_bytes())
    assert ExactSum.load(path, grid).digest() == total.digest()
    with pytest.raises(InputError, match=r"sum\.safetensors: not an exact sum \(needs int64 'sum'"):
        ExactSum.load(path, Grid(4, 100, 2**30))
    for values, count, said in (([201, 0], 2, "damaged: a partial sum"), ([0, 0], 3, "damaged: an exact sum holds 0 to 2")):
        save_file({"sum": np.array(values, dtype=np.int32), "count": np.array([count])}, path)
        with pytest.raises(InputError, match=said):
            ExactSum.load(path, grid)


def test_partial_sums_of_nodes_are_added_and_never_wrap() -> None:
    for kind in (np.int32, np.int64):
        top = np.iinfo(kind).max
        parts = [np.array(entries, dtype=kind) for entries in ([top - 1, 1], [1, -5], [0, 3])]
        assert (added(parts).tolist(), added(parts).dtype) == ([top, -1], kind)
        assert parts[0].tolist() == [top - 1, 1]
        for more in (np.array([1, 0], dtype=kind), np.array([0, -top], dtype=kind)):
            start = np.array([top, -2], dtype=kind)
            with pytest.raises(InputError, match=f"does not fit {np.dtype(kind)}"):
                added([start, more])
    with pytest.raises(InputError, match=r"int32 \(2,\), int64 \(2,\)"):
        added([np.zeros(2, dtype=np.int32), np.zeros(2, dtype=np.int64)])


@given(st.integers(-(10**6), 10**6), st.sampled_from([np.int32, np.int64]))
def test_what_is_owed_for_many_vectors_is_settled_at_once(times: int, kind: type[np.signedinteger]) -> None:
    """It may be more than the type holds; the arithmetic of the type takes it off all the same."""
    offset, bits = 0x4B400000 << (8 * np.dtype(kind).itemsize - 32), 8 * np.dtype(kind).itemsize
    right = np.array([0, 5, -7, np.iinfo(kind).max, np.iinfo(kind).min], dtype=kind)
    wrapped = [(int(entry) + times * offset + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1) for entry in right]
    total = np.array(wrapped, dtype=kind)
    settle(total, times * offset)
    assert total.tolist() == right.tolist()


def test_means_round_once() -> None:
    grid = Grid(10, 2**40, 3)
    assert from_grid(np.array([1024, -512, 0]), grid, 2).tolist() == [0.5, -0.25, 0.0]
    assert from_grid(np.array([1], dtype=np.int32), Grid(10, 9, 3), 3).tolist() == [float(np.float32(1 / 3072))]
