"""The clock of releases: by hand, and against closed forms of queueing theory."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.life.cost import Cost
from sim.stream import clock
from sim.stream.arrivals import generator

LENGTHS = st.lists(st.integers(0, 20).map(float), max_size=30)


def test_a_queue_by_hand() -> None:
    """Two workers; the third job waits for the first to be free, the fifth comes when nobody works."""
    starts, ends = clock.queue([0, 0, 1, 2, 30], [10, 4, 1, 3, 2], 2)
    assert starts == [0, 0, 4, 5, 30]
    assert ends == [10, 4, 5, 8, 32]


@pytest.mark.parametrize(
    ("stages", "workers", "seconds"),
    [
        ([[3, 3, 3]], 1, 9),
        ([[3, 3, 3]], 2, 6),
        ([[3, 3, 3]], 5, 3),
        ([[5, 1, 1, 1]], 2, 5),
        ([[2, 2], [], [7]], 2, 9),
        ([], 3, 0),
    ],
)
def test_stages_follow_each_other(stages: list[list[float]], workers: int, seconds: float) -> None:
    assert clock.makespan(stages, workers) == seconds


@given(LENGTHS, st.integers(1, 5))
def test_no_worker_idles_while_work_waits(lengths: list[float], workers: int) -> None:
    """Graham's bounds: no less than the even share or the longest job, no more than both together."""
    found = clock.makespan([lengths], workers)
    even, longest = sum(lengths) / workers, max(lengths, default=0.0)
    assert max(even, longest) - 1e-9 <= found <= even + longest * (1 - 1 / workers) + 1e-9


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), min_size=1, max_size=30), st.integers(0, 40))
def test_releases_in_turn_are_a_queue_of_one(asked: list[tuple[int, int]], free: int) -> None:
    """As arrays at once, one by one as a played run asks, and as the heap has it: the same."""
    asked = sorted(asked, key=lambda each: each[0])
    due, lengths = (np.array(column, dtype=np.float64) for column in zip(*asked, strict=True))
    starts, published = clock.in_turn(due, lengths, free)
    last = float(free)
    for index in range(len(due)):
        (start,), (end,) = clock.in_turn(due[index : index + 1], lengths[index : index + 1], last)
        assert (start, end) == (starts[index], published[index])
        last = end
    begun, done = clock.queue([float(free), *due.tolist()], [0.0, *lengths.tolist()], 1)
    if free <= due[0]:
        assert (begun[1:], done[1:]) == (starts.tolist(), published.tolist())


def test_time_to_forget_by_hand() -> None:
    found = clock.time_to_forget(np.array([10.0, 20.0, 30.0, 40.0, 50.0]), 45.0)
    assert found == {"median": 30.0, "p95": 48.0, "p99": 49.6, "max": 50.0, "late_share": 0.2}
    assert set(clock.time_to_forget(np.empty(0), 45.0).values()) == {None}
    assert clock.time_to_forget(np.array([1.0]), None)["late_share"] is None


def test_the_backlog_by_hand() -> None:
    arrived, published = np.array([1.0, 2.0, 3.0]), np.array([2.5, 2.5, 7.0])
    assert clock.backlog(arrived, published).tolist() == [1, 2, 1]
    assert clock.backlog(arrived, arrived).tolist() == [0, 0, 0]
    assert clock.backlog(np.array([1.0, 1.0, 1.0]), np.array([9.0, 1.0, 5.0])).tolist() == [0, 1, 2]


def test_costs_know_what_can_be_done_at_the_same_time() -> None:
    one, two, three = (Cost(seconds=s, stages=((s,),)) for s in (1.0, 2.0, 4.0))
    assert one.beside(two).then(three).stages == ((1.0, 2.0), (4.0,))
    assert one.then(two).beside(three).stages == ((1.0, 4.0), (2.0,))
    assert "stages" not in one.as_facts()
    assert Cost(**one.counted) == one


# -- closed forms -----------------------------------------------------------------------------------------------------

N = 400_000


def poisson(load: float, seed: int) -> np.ndarray:
    """Arrivals for a service of mean length 1, N of them."""
    return np.cumsum(generator(seed, "gaps").exponential(1 / load, N))


def within(waits: np.ndarray, right: float) -> None:
    """That the mean is right within 4 standard errors, which batches of consecutive waits tell, and these are small."""
    means = waits[: N // 50 * 50].reshape(50, -1).mean(axis=1)
    error = means.std(ddof=1) / math.sqrt(50)
    assert error < 0.05 * right
    assert abs(waits.mean() - right) < 4 * error


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_mm1(load: float) -> None:
    """Mean wait load / (1 - load); a wait is longer than t with the probability load exp(-(1 - load) t)."""
    due = poisson(load, 1)
    starts, published = clock.in_turn(due, generator(1, "service").exponential(1.0, N))
    within(starts - due, load / (1 - load))
    within(published - due, 1 / (1 - load))
    assert ((starts - due) > 2).mean() == pytest.approx(load * math.exp(-(1 - load) * 2), abs=0.01)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_md1(load: float) -> None:
    """Mean wait load / (2 (1 - load))."""
    due = poisson(load, 2)
    starts, _ = clock.in_turn(due, np.ones(N))
    within(starts - due, load / (2 * (1 - load)))


def test_mmc() -> None:
    """Three workers at load 0.8: Erlang's C by hand is 0.6472, and the mean wait C / (3 (1 - 0.8))."""
    due = poisson(2.4, 3)
    starts, _ = clock.queue(due.tolist(), generator(3, "service").exponential(1.0, N).tolist(), 3)
    offered = 2.4
    top = offered**3 / 6 / (1 - 0.8)
    erlang = top / (1 + offered + offered**2 / 2 + top)
    assert erlang == pytest.approx(0.6472, abs=1e-4)
    within(np.array(starts) - due, erlang / (3 * 0.2))


def test_bulk_service_at_fixed_days() -> None:
    """A release every d days takes all who wait, in no time: waits are uniform on 0 to d."""
    from sim.scenario.stream import ReleaseSpec
    from sim.stream.releasing import published_by, releases

    due = poisson(5.0, 4)
    ends, days = releases(due, ReleaseSpec(days=10.0, every=None))
    waits = days[published_by(ends, N)] - due
    within(waits, 5.0)
    assert waits.std() == pytest.approx(10 / math.sqrt(12), rel=0.01)


def test_bulk_service_of_every_k_is_a_queue_of_erlang_arrivals() -> None:
    """With k = 2 and exponential service, E2/M/1: the wait of a release is sigma / (1 - sigma) for the root of
    sigma = (2 load / (2 load + 1 - sigma))**2, and the first of two waits half a gap more on average."""
    from sim.scenario.stream import ReleaseSpec
    from sim.stream.releasing import published_by, releases

    due = poisson(1.4, 5)  # 0.7 releases in the time of a service
    ends, days = releases(due, ReleaseSpec(every=2))
    starts, _ = clock.in_turn(days, generator(5, "service").exponential(1.0, len(days)))
    sigma = 0.5
    for _ in range(200):
        sigma = (1.4 / (1.4 + 1 - sigma)) ** 2
    within(np.repeat(starts - days, 2), sigma / (1 - sigma))
    within(starts[published_by(ends, N)] - due, sigma / (1 - sigma) + 1 / 1.4 / 2)
