"""Requests survived, by hand, against a plain recount, and against the theory of collecting coupons."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.study.deletion_rate import asked, counted, expected, survived, weights
from strategies.slices import rotations, usable


@pytest.mark.parametrize(
    ("requests", "orders", "count"),
    [
        ([0, 3], 1, 2),  # both shards' only orders begin with slice 0, here 0 and 3
        ([1, 2, 4, 5, 1, 0, 5, 3], 1, 8),  # the later slices do not matter
        ([0, 3], 2, None),  # the second order, 1 2 0, is whole up to its last slice
        ([0, 3, 3, 1, 2, 5, 4], 2, 7),  # firsts 0, 1 and 3, 4
        ([0, 1, 2, 3, 4], 3, None),
        ([0, 1, 2, 3, 4, 5, 0], 3, 6),
        ([], 1, None),
    ],
)
def test_two_shards_of_three_slices_by_hand(requests: list[int], orders: int, count: int | None) -> None:
    assert survived(requests, 2, 3, orders) == count


def test_orders_begin_evenly_spaced() -> None:
    assert rotations(4, 1) == [(0, 1, 2, 3)]
    assert rotations(4, 2) == [(0, 1, 2, 3), (2, 3, 0, 1)]
    assert rotations(4, 3) == [(0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1)]
    assert rotations(3, 2) == [(0, 1, 2), (1, 2, 0)]
    for slices in range(1, 9):
        for orders in range(1, slices + 1):
            found = rotations(slices, orders)
            assert len({order[0] for order in found}) == orders
            assert {tuple(sorted(order)) for order in found} == {tuple(range(slices))}
    assert [usable((2, 0, 1), lost) for lost in (set(), {1}, {0}, {0, 1}, {2})] == [3, 2, 1, 1, 0]


@given(st.integers(1, 3), st.integers(1, 4), st.data())
def test_nothing_is_left_once_every_first_slice_was_hit(shards: int, slices: int, data: st.DataObject) -> None:
    orders = data.draw(st.integers(1, slices))
    requests = data.draw(st.lists(st.integers(0, shards * slices - 1), max_size=40))
    firsts = {shard * slices + number * slices // orders for shard in range(shards) for number in range(orders)}
    counts = [count for count in range(1, len(requests) + 1) if firsts <= set(requests[:count])]
    assert survived(requests, shards, slices, orders) == min(counts, default=None)


def collected(likely: list[float]) -> float:
    """Draws until each of these coupons was drawn, on average: inclusion and exclusion over all sets of them."""
    sets = itertools.chain.from_iterable(itertools.combinations(likely, size) for size in range(1, len(likely) + 1))
    return math.fsum(-((-1) ** len(some)) / sum(some) for some in sets)


def test_the_published_theory() -> None:
    """5 shards of 4 slices; published: 45.7 (SISA), 58.6, 72.0. And against sums over all sets, where there are few."""
    assert [round(expected(5, 4, orders), 1) for orders in (1, 2, 4)] == [45.7, 58.6, 72.0]
    for shards, slices, orders in ((1, 1, 1), (2, 3, 1), (2, 3, 2), (2, 4, 4), (5, 4, 2)):
        first = [1 / (shards * slices)] * (shards * orders)
        assert expected(shards, slices, orders) == pytest.approx(collected(first), rel=1e-9)


@pytest.mark.parametrize("orders", [1, 2, 4])
def test_counting_meets_the_theory(orders: int) -> None:
    found = counted("uniform", 5, 4, orders, streams=400, seed=7)
    error = found.std(ddof=1) / 20
    assert abs(found.mean() - expected(5, 4, orders)) < 4 * error < 6
    np.testing.assert_array_equal(found[:5], counted("uniform", 5, 4, orders, streams=5, seed=7))


def test_uneven_requests_meet_their_own_theory() -> None:
    """One shard of three slices; each stream deals the quantiles anew: the theory is a mean over all ways to deal them."""
    for asker in ("exponential", "pareto"):
        found = counted(asker, 1, 3, 2, streams=600, seed=3)  # type: ignore[arg-type]
        likely = weights(asker, 3, np.random.default_rng(0))  # type: ignore[arg-type]
        theory = np.mean([collected([a, b]) for a, b in itertools.permutations(likely.tolist(), 2)])
        assert abs(found.mean() - theory) < 4 * found.std(ddof=1) / math.sqrt(600)


def test_weights_are_quantiles_in_a_random_order() -> None:
    """Two slices: the quartiles. −log(3/4) and −log(1/4); (3/4)^(−1/1.16) and (1/4)^(−1/1.16)."""
    rng = np.random.default_rng(1)
    for asker, two in (
        ("uniform", [1, 1]),
        ("exponential", [math.log(4 / 3), math.log(4)]),
        ("pareto", [(4 / 3) ** (1 / 1.16), 4 ** (1 / 1.16)]),
    ):
        found = weights(asker, 2, rng)  # type: ignore[arg-type]
        np.testing.assert_allclose(sorted(found), np.array(two) / sum(two), rtol=1e-12)
    pareto = np.sort(weights("pareto", 1000, rng))[::-1]
    assert pareto[:200].sum() == pytest.approx(0.7, abs=0.1)  # near four fifths from a fifth; a finite sample has less


def test_requests_come_as_likely_as_they_are() -> None:
    likely = np.array([0.7, 0.2, 0.1])
    drawn = list(itertools.islice(asked(likely, np.random.default_rng(5)), 4000))
    shares = np.bincount(drawn, minlength=3) / 4000
    assert (np.abs(shares - likely) < 4 * np.sqrt(likely * (1 - likely) / 4000)).all()
