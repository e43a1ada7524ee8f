"""Merges over streamed vectors against the formulas written out densely, on vectors full of ties and zeros."""

import itertools
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clients.exact import bits
from strategies.rebuild import breadcrumbs, consensus, emr, magmax, tall, ties
from strategies.state import streaming
from strategies.state.streaming import Row

# Small multiples of 2^-10: every sum and ratio below is the same in fp32 and in float64, so equal means equal.
GRAINS = st.integers(-8, 8).map(lambda number: number / 1024)
STACKS = st.tuples(st.integers(1, 5), st.integers(1, 23)).flatmap(lambda shape: arrays(np.float32, shape, elements=GRAINS))
BIG = np.random.default_rng(1).standard_normal((4, 2 * streaming.BLOCK + 13)).astype(np.float32)


def rows_of(stack: np.ndarray) -> list[Row]:
    return [row.__getitem__ for row in stack]


def dense_emr(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sign = np.sign(stack.astype(np.float64).sum(0))
    unified = sign * np.where(stack * sign > 0, np.abs(stack), 0).max(0)
    masks = stack * unified > 0
    norms = np.abs(masks * unified).sum(1)
    return unified, masks, np.where(norms > 0, np.abs(stack).sum(1, dtype=np.float64) / np.where(norms > 0, norms, 1), 0)


def check_emr(stack: np.ndarray, rtol: float) -> None:
    unified, masks, scales = dense_emr(stack)
    found = emr.unify(rows_of(stack), stack.shape[1])
    np.testing.assert_array_equal(found, unified.astype(np.float32))
    for (packed, scale), mask, right in zip(emr.masks_and_scales(rows_of(stack), found), masks, scales, strict=True):
        np.testing.assert_array_equal(bits.unpack(packed, stack.shape[1]), mask)
        assert scale == pytest.approx(right, rel=rtol)


@given(STACKS)
def test_emr(stack: np.ndarray) -> None:
    check_emr(stack, rtol=1e-6)


def test_emr_over_several_blocks() -> None:
    check_emr(BIG, rtol=1e-5)


def test_emr_by_hand() -> None:
    stack = np.array([[3, -1, 0, 2], [1, -4, 5, -2]], dtype=np.float32)
    unified = emr.unify(rows_of(stack), 4)
    np.testing.assert_array_equal(unified, [3, -4, 5, 0])  # the last column adds up to 0
    (one, s1), (two, s2) = emr.masks_and_scales(rows_of(stack), unified)
    assert [int(one[0]), int(two[0])] == [0b0011, 0b0111]
    assert (s1, s2) == (6 / 7, 12 / 12)


def dense_ratio(tau: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Where nobody else has changed an entry, the largest change ranks first."""
    return np.abs(tau.astype(np.float64)) / np.maximum(np.abs(total - tau), np.finfo(np.float32).tiny)


@given(STACKS, st.sampled_from([0.125, 0.25, 0.5, 1.0, 2.0]))
def test_tall_masks_are_the_papers_inequality(stack: np.ndarray, threshold: float) -> None:
    total = streaming.total(rows_of(stack), stack.shape[1])
    for tau, row in zip(stack, rows_of(stack), strict=True):
        mask = bits.unpack(tall.tall_mask(row, total, threshold), tau.size)
        changed = (tau != 0) | (total != tau)  # where nobody has changed anything the inequality says 0 >= 0
        np.testing.assert_array_equal(mask, (np.abs(tau) >= threshold * np.abs(total - tau)) & changed)


@given(STACKS, st.sampled_from([0.1, 0.3, 0.5, 1.0]))
def test_tall_density_is_the_share_of_the_largest_ratios(stack: np.ndarray, density: float) -> None:
    total = stack.sum(0)
    for tau, row in zip(stack, rows_of(stack), strict=True):
        threshold = tall.threshold_for(row, total, density)
        mask = bits.unpack(tall.tall_mask(row, total, threshold), tau.size)
        ratio, k = dense_ratio(tau, total), round(density * tau.size)
        least = np.sort(ratio)[::-1][k - 1] if k else np.inf
        np.testing.assert_array_equal(mask, (ratio >= least) & (tau != 0) & (k > 0))


def test_tall_over_several_blocks() -> None:
    size = BIG.shape[1]
    total = streaming.total(rows_of(BIG), size)
    packed = tall.tall_mask(rows_of(BIG)[2], total, tall.threshold_for(rows_of(BIG)[2], total, 0.3))
    assert bits.count(packed) == round(0.3 * size)
    order = np.argsort(-(np.abs(BIG[2]) / np.abs(total - BIG[2])))
    np.testing.assert_array_equal(np.flatnonzero(bits.unpack(packed, size)), np.sort(order[: round(0.3 * size)]))


def dense_ties(stack: np.ndarray, keep: float) -> np.ndarray:
    stack = stack.astype(np.float64)
    k = round(keep * stack.shape[1])
    least = np.sort(np.abs(stack), axis=1)[:, ::-1][:, k - 1 : k] if k else np.inf
    trimmed = np.where(np.abs(stack) >= least, stack, 0)
    sign = np.sign(trimmed.sum(0))
    sign = np.where(sign == 0, 1 if sign.sum() > 0 else -1, sign)
    agrees = trimmed * sign > 0
    return np.where(agrees, trimmed, 0).sum(0) / np.maximum(agrees.sum(0), 1)


@given(STACKS, st.sampled_from([0.05, 0.2, 0.5, 1.0]))
def test_ties(stack: np.ndarray, keep: float) -> None:
    found = ties.merge(rows_of(stack), stack.shape[1], keep)
    np.testing.assert_allclose(found, dense_ties(stack, keep), rtol=1e-6, atol=0)


def test_ties_over_several_blocks() -> None:
    np.testing.assert_allclose(ties.merge(rows_of(BIG), BIG.shape[1], 0.2), dense_ties(BIG, 0.2), rtol=1e-5)


def test_ties_gives_sums_of_zero_to_the_majority() -> None:
    stack = np.array([[4, 5, -6], [-4, 5, 0]], dtype=np.float32)
    np.testing.assert_array_equal(ties.merge(rows_of(stack), 3, 1.0), [-4, 5, -6])  # one plus, one minus: minus
    np.testing.assert_array_equal(ties.merge(rows_of(-stack[:, :2]), 2, 1.0), [-4, -5])
    np.testing.assert_array_equal(ties.merge(rows_of(stack[:, :2]), 2, 1.0), [4, 5])


@given(STACKS)
def test_magmax_is_the_first_of_the_largest(stack: np.ndarray) -> None:
    right = np.take_along_axis(stack, np.abs(stack).argmax(0)[None], axis=0)[0]
    np.testing.assert_array_equal(magmax.merge(rows_of(stack), stack.shape[1]), right)


def test_magmax_over_several_blocks() -> None:
    right = np.take_along_axis(BIG, np.abs(BIG).argmax(0)[None], axis=0)[0]
    np.testing.assert_array_equal(magmax.merge(rows_of(BIG), BIG.shape[1]), right)


def dense_breadcrumbs(stack: np.ndarray, bounds: list[int], density: float, gamma: float) -> np.ndarray:
    merged = np.zeros(stack.shape[1])
    for tau in stack.astype(np.float64):
        for start, stop in itertools.pairwise(bounds):
            size, n = np.abs(tau[start:stop]), stop - start
            ranked = np.sort(size)[::-1][round(gamma * n) :][: round(density * n)]
            kept = (size >= ranked[-1]) & (size <= ranked[0]) if ranked.size else np.zeros(n, dtype=bool)
            merged[start:stop] += tau[start:stop] * kept
    return merged / len(stack)


@given(STACKS, st.sampled_from([0.1, 0.5, 0.7]), st.sampled_from([0.0, 0.01, 0.3]), st.data())
def test_breadcrumbs(stack: np.ndarray, density: float, gamma: float, data: st.DataObject) -> None:
    size = stack.shape[1]
    bounds = sorted({0, size, *data.draw(st.lists(st.integers(0, size), max_size=3))})
    found = breadcrumbs.merge(rows_of(stack), bounds, density, gamma)
    np.testing.assert_allclose(found, dense_breadcrumbs(stack, bounds, density, gamma), rtol=1e-6, atol=0)


def test_breadcrumbs_keeps_something_of_small_tensors() -> None:
    tau = np.array([[1, -2, 3, 4, 50]], dtype=np.float32)
    np.testing.assert_array_equal(breadcrumbs.merge(rows_of(tau), (0, 5), 0.6, 0.2), [0, -2, 3, 4, 0])
    np.testing.assert_array_equal(breadcrumbs.merge(rows_of(tau), (0, 4, 5), 0.9, 0.01), tau[0])


@given(STACKS, st.sampled_from([0.1, 0.3, 0.7]), st.integers(1, 3))
def test_consensus(stack: np.ndarray, density: float, at_least: int) -> None:
    total, k = stack.sum(0), round(density * stack.shape[1])
    ratios = np.array([dense_ratio(tau, total) for tau in stack])
    least = np.sort(ratios, axis=1)[:, ::-1][:, k - 1 : k] if k else np.inf
    held = ((ratios >= least) & (stack != 0) & (k > 0)).sum(0)
    right = np.where(held >= at_least, total.astype(np.float64) / len(stack), 0)
    found = consensus.merge(rows_of(stack), stack.shape[1], density, at_least)
    np.testing.assert_allclose(found, right, rtol=1e-6, atol=0)


@settings(max_examples=20)
@given(STACKS, st.randoms())
def test_merges_do_not_depend_on_the_order_of_rows(stack: np.ndarray, random: object) -> None:
    """But for MagMax, whose ties go by name."""
    order = list(range(len(stack)))
    random.shuffle(order)  # type: ignore[attr-defined]
    size, mixed = stack.shape[1], stack[order]
    for merge in (
        lambda rows: emr.unify(rows, size),
        lambda rows: ties.merge(rows, size, 0.3),
        lambda rows: breadcrumbs.merge(rows, (0, size), 0.6, 0.2),
        lambda rows: consensus.merge(rows, size, 0.3, 2),
    ):
        np.testing.assert_array_equal(merge(rows_of(stack)), merge(rows_of(mixed)))


def peak(work: Callable[[], object]) -> int:
    """Most bytes allocated at a time, of numpy's arrays too."""
    tracemalloc.start()
    work()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


SIZE = 6 * streaming.BLOCK
LONG = np.random.default_rng(2).standard_normal(SIZE, dtype=np.float32)
WAYS: dict[str, Callable[[list[Row]], object]] = {
    "total": lambda rows: streaming.total(rows, SIZE),
    "emr": lambda rows: emr.unify(rows, SIZE),
    "ties": lambda rows: ties.merge(rows, SIZE, 0.2),
    "magmax": lambda rows: magmax.merge(rows, SIZE),
    "breadcrumbs": lambda rows: breadcrumbs.merge(rows, (0, SIZE), 0.5, 0.1),
    "consensus": lambda rows: consensus.merge(rows, SIZE, 0.3, 2),
}


@pytest.mark.parametrize("way", WAYS)
def test_memory_does_not_grow_with_the_number_of_vectors(way: str) -> None:
    few, many = (peak(lambda n=n: WAYS[way]([LONG.__getitem__] * n)) for n in (2, 24))  # type: ignore[misc]
    assert many < few + 4 * streaming.BLOCK


def test_a_pass_reads_every_entry_once() -> None:
    read = np.zeros(SIZE, dtype=int)

    def row(part: slice) -> np.ndarray:
        read[part] += 1
        return LONG[part]

    passes: list[Callable[[], object]] = [
        lambda: streaming.total([row], SIZE),
        lambda: emr.unify([row], SIZE),
        lambda: emr.masks_and_scales([row], LONG),
        lambda: tall.tall_mask(row, LONG, 0.5),
        lambda: magmax.merge([row], SIZE),
    ]
    for number, work in enumerate(passes, start=1):
        work()
        assert (read == number).all(), number
