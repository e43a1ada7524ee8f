"""S3T with trainings made up as functions of their pool, start and group, against S3T written out plainly."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from test_pooled_strategies import made_up
from updates import SEED, SIZE, shards

from clients.errors import InputError
from clients.jobs import Job, Reply
from clients.work.pooled import Training
from clients.work.served import BASE, Ensemble
from strategies.retrain.s3t import S3t, S3tParameters, group
from strategies.state.clusters import number
from strategies.state.kept import Kept
from strategies.state.store import Memory
from strategies.work import Work

CLIENTS = tuple("abcdefghijklmnopqrstuvw")
LATE = ("x", "y", "z")
BOUNDS = (0, 4, 9, 10, 17, SIZE)
GROUPS = ((10, SIZE), (4, 10), (0, 4))
"""Entries of three groups of five tensors, from the top: the last two tensors, the two before them, the first."""
SHARDS, SLICES = 2, 3
PLACE = {c: (number(c, SHARDS, SEED), number(f"slice of {c}", SLICES, SEED)) for c in (*CLIENTS, *LATE)}


class Asked:
    """Carries out trainings without a model, last one first, and notes whom they were of; only their tensors move."""

    def __init__(self, strategy: S3t) -> None:
        self.strategy, self.trainings = strategy, list[tuple[Training, str | None]]()

    def __call__(self, kept: Kept, jobs: Sequence[Job]) -> Iterator[tuple[int, Reply]]:
        for index, job in reversed(list(enumerate(jobs))):
            training, start = Training.model_validate(job.facts["training"]), job.facts["start"]
            self.trainings.append((training, start))
            yield index, Reply(job.clients, {}, {"vector": moved(training, start and self.strategy.vector(start))})

    @property
    def seen(self) -> set[str]:
        return {client for training, _ in self.trainings for term in training.terms for client in term.clients}


def moved(training: Training, start: np.ndarray | None) -> np.ndarray:
    assert training.tensors is not None
    first, stop = training.tensors
    return np.where(within(BOUNDS[first], BOUNDS[stop]), made_up(training, start), np.float32(0))


def within(first: int, stop: int) -> np.ndarray:
    return (np.arange(SIZE) >= first) & (np.arange(SIZE) < stop)


def new(orders: int, clients: Sequence[str] = CLIENTS, **data: int) -> tuple[S3t, Kept]:
    """A strategy of a system that all of ``CLIENTS`` join at first, and these clients' state; nothing localized."""
    told = {"shards": SHARDS, "slices": SLICES, "orders": orders, "steps": 4, "batch": 6}
    strategy = S3t(S3tParameters.model_validate(told), SEED, Path())
    strategy.store, strategy.joining = Memory(), CLIENTS
    kept = Kept(Path("nowhere"), None, BOUNDS, (), SEED, Memory())
    kept.register(shards(clients, data))
    return strategy, kept


def localized(strategy: S3t, kept: Kept) -> Asked:
    asked = Asked(strategy)
    strategy.localize(kept, asked)
    return asked


def order_of(rotation: int, orders: int) -> list[int]:
    """The slices of an order: of 2 orders of 3 slices, 0 1 2 and 1 2 0."""
    start = {1: [0], 2: [0, 1], 3: [0, 1, 2]}[orders][rotation]
    return [*range(start, SLICES), *range(start)]


def right(members: Sequence[str], orders: int) -> dict[str, np.ndarray]:
    """Every vector that there is to be, by name."""
    found = {}
    for shard in range(SHARDS):
        slices = [[c for c in sorted(members) if PLACE[c] == (shard, i)] for i in range(SLICES)]
        lost = {PLACE[c][1] for c in CLIENTS if PLACE[c][0] == shard and c not in members}
        courses: dict[int, list[int]] = {}
        for rotation in range(orders):
            order = order_of(rotation, orders)
            stop = min((order.index(i) for i in lost), default=SLICES)
            courses[rotation] = order[:stop]
        if not any(slices[i] for course in courses.values() for i in course):
            courses = {0: list(range(SLICES))}
        for rotation, course in courses.items():
            vector = None
            for stage in range(len(course)):
                if not slices[course[stage]]:
                    continue
                pool = sorted(c for i in course[: stage + 1] for c in slices[i])
                tensors = {0: (3, 5), 1: (1, 3), 2: (0, 1)}[stage]
                training = {"terms": [{"clients": pool}], "steps": 4, "batch": 6, "tensors": tensors}
                step = moved(Training.model_validate(training), vector)
                vector = step if vector is None else vector + step
            if vector is not None:
                found[f"shard-{shard}-order-{rotation}"] = vector
    return found


def is_right(strategy: S3t, kept: Kept, orders: int) -> None:
    expected = right(sorted(kept.members), orders)
    assert {f"{name}.safetensors" for name in expected} == set(strategy.sizes())
    for name, vector in expected.items():
        assert strategy.vector(name).tobytes() == vector.tobytes(), name


def test_groups_are_cut_by_tensors_and_counted_from_the_top() -> None:
    assert [group(5, 3, stage) for stage in range(3)] == [(3, 5), (1, 3), (0, 1)]
    assert [group(4, 2, stage) for stage in range(2)] == [(2, 4), (0, 2)]
    for tensors, groups in ((7, 7), (9, 4), (12, 5)):
        cut = [group(tensors, groups, stage) for stage in range(groups)][::-1]
        assert [t for first, stop in cut for t in range(first, stop)] == list(range(tensors))
        assert all(stop > first for first, stop in cut)


@pytest.mark.parametrize("orders", [1, 2, 3])
def test_each_stage_moves_its_group_alone_and_starts_from_those_before(orders: int) -> None:
    assert {PLACE[c] for c in CLIENTS} == {(s, r) for s in range(SHARDS) for r in range(SLICES)}
    strategy, kept = new(orders)
    asked = localized(strategy, kept)
    is_right(strategy, kept, orders)
    assert [training.tensors for training, _ in asked.trainings] == [
        tensors for tensors in ((3, 5), (1, 3), (0, 1)) for _ in range(SHARDS * orders)
    ]
    assert [start is None for _, start in asked.trainings] == [True] * SHARDS * orders + [False] * 2 * SHARDS * orders
    assert localized(strategy, kept).trainings == []
    assert strategy.serve(kept, "a") == Ensemble(("shard-0-order-0", "shard-1-order-0"))


def of(shard: int, slice_: int) -> list[str]:
    return [c for c in CLIENTS if PLACE[c] == (shard, slice_)]


@pytest.mark.parametrize(
    ("lost", "groups", "served"),
    [
        # orders 0 1 2 and 1 2 0: how many groups of each are left, and which of the two answers
        ([2], (2, 1), 0),
        ([1], (1, 0), 0),
        ([0], (0, 2), 1),
        ([2, 1], (1, 0), 0),
        ([0, 2], (0, 1), 1),
    ],
)
def test_a_deletion_leaves_the_groups_before_its_slice_and_trains_nothing(
    lost: list[int], groups: tuple[int, int], served: int
) -> None:
    strategy, kept = new(2)
    localized(strategy, kept)
    before = {name: strategy.vector(name) for name in strategy.vectors()}
    for slice_ in lost:
        kept.erase(of(1, slice_)[0])
        assert localized(strategy, kept).trainings == []
    assert strategy.serve(kept, "a") == Ensemble(("shard-0-order-0", f"shard-1-order-{served}"))
    for rotation in (0, 1):
        name, left = f"shard-1-order-{rotation}", groups[rotation]
        assert (name in strategy.vectors()) == bool(left)
        for first, stop in GROUPS[:left]:
            np.testing.assert_array_equal(strategy.vector(name)[first:stop], before[name][first:stop])
            assert before[name][first:stop].any()
        for first, stop in GROUPS[left:] if left else ():
            assert not strategy.vector(name)[first:stop].any()
        np.testing.assert_array_equal(strategy.vector(f"shard-0-order-{rotation}"), before[f"shard-0-order-{rotation}"])
    is_right(strategy, kept, 2)


def test_a_shard_is_trained_again_once_no_order_is_left_and_then_from_the_slice_that_changes() -> None:
    strategy, kept = new(2)
    localized(strategy, kept)
    kept.erase(of(0, 0)[0])
    localized(strategy, kept)
    kept.erase(of(0, 1)[0])
    asked = localized(strategy, kept)
    assert asked.seen == {c for c in CLIENTS if PLACE[c][0] == 0} & kept.members.keys()
    assert [start for _, start in asked.trainings] == [None, "shard-0-order-0", "shard-0-order-0"]
    assert {name for name in strategy.vectors() if name.startswith("shard-0")} == {"shard-0-order-0"}
    is_right(strategy, kept, 2)
    kept.erase(of(0, 2)[0])
    assert [training.tensors for training, _ in localized(strategy, kept).trainings] == [(0, 1)]
    is_right(strategy, kept, 2)


def test_a_newcomer_is_learned_with_its_slice_unless_that_is_lost() -> None:
    strategy, kept = new(1)
    localized(strategy, kept)
    shard, slice_ = PLACE["x"]
    kept.register(shards("x"))
    assert len(localized(strategy, kept).trainings) == SLICES - slice_
    is_right(strategy, kept, 1)
    kept.erase("x")
    localized(strategy, kept)
    kept.erase(of(shard, slice_)[0])
    localized(strategy, kept)
    kept.register(shards("x"))
    asked = localized(strategy, kept)
    assert ("x" in asked.seen) == (slice_ == 0)  # with one order, losing its first slice means training again
    is_right(strategy, kept, 1)


EVENTS = st.lists(
    st.lists(
        st.one_of(
            st.tuples(st.just("leave"), st.sampled_from((*CLIENTS, *LATE))),
            st.tuples(st.just("join"), st.sampled_from((*CLIENTS, *LATE))),
            st.tuples(st.just("less"), st.sampled_from((*CLIENTS, *LATE))),
        ),
        max_size=4,
    ),
    max_size=5,
)


@given(orders=st.integers(1, 3), batches=EVENTS)
def test_the_state_is_that_of_a_system_that_never_met_the_others(orders: int, batches: list[list[tuple[str, str]]]) -> None:
    """Whoever leaves, loses examples, comes back or is new, in any order and in any batches. And prices are those paid."""
    strategy, kept = new(orders)
    localized(strategy, kept)
    less: dict[str, int] = {}
    for batch in batches:
        before = kept.digests()
        for kind, client in batch:
            if kind == "join" and client not in kept.members:
                less.pop(client, None)
                kept.register(shards([client]))
            elif kind == "leave" and client in kept.members:
                kept.erase(client)
            elif kind == "less" and client in kept.members:
                less[client] = less.get(client, 0) + 1
                kept.reregister(client, shards([client], less)[client])
        after = kept.digests()
        unchanged = [client for client in before if after.get(client, before[client]) == before[client]]
        trained = localized(strategy, kept).trainings
        clients, steps = sum(len(training.terms[0].clients) for training, _ in trained), 4 * len(trained)
        assert strategy.work(unchanged, list(after)) == Work(pooled=clients, pooled_steps=steps, pooled_examples=6 * steps)
        kept.changed.clear()
    fresh, others = new(orders, sorted(kept.members)[::-1], **{c: n for c, n in less.items() if c in kept.members})
    localized(fresh, others)
    assert strategy.digest(kept) == fresh.digest(others)
    assert strategy.serve(kept, "a") == fresh.serve(others, "nobody")
    is_right(strategy, kept, orders)
    assert (strategy.serve(kept, "a") == BASE) == (not kept.members)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValidationError, match="orders are rotations of the slices, so there are 3 at most"):
        S3tParameters(slices=3, orders=4)
    with pytest.raises(ValidationError, match="there are 1 at most"):
        S3tParameters(slices=1)
    strategy: Any = S3t(S3tParameters(slices=6), SEED, Path())
    strategy.check_model(6)
    with pytest.raises(
        InputError, match="slices: 6 take a group of tensors each, and the model tunes 5 tensors; take fewer"
    ):
        strategy.check_model(5)
