"""Any life ends where the shortest one does: with the state of who is left, and of the data that they have left."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from updates import BOUNDS, SEED, SIZE, anchor, reply, shards

from clients.exact import bits, digest
from clients.jobs import Job, Reply, served_in
from strategies.registry import REGISTRY
from strategies.state.affinity import Features, Gram
from strategies.state.anchors import Anchors
from strategies.state.cluster_sums import ClusterSums
from strategies.state.kept import Kept
from strategies.state.masks import Counts, masked
from strategies.state.part import Part
from strategies.state.store import Memory, Store
from strategies.state.sum import Sum
from strategies.state.vectors import EveryVector, Vectors
from strategies.strategy import Strategy, parameters_of

NAMES = ("a", "b", "c", "d", "e/f")
SMALL = {"clusters": 3, "shards": 2, "slices": 2}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("tall", {"clusters": 2}),
    ("emr", {"clusters": 2}),
    ("sift_masks", {"scale": "counts"}),
    ("sift_masks", {"scale": "l1"}),
    ("cluster_average", {"clusters": 3, "by": "anchor"}),
    ("vote_masks", {"clusters": 3, "by": "anchor"}),
    ("apa", {"clusters": 3, "by": "anchor"}),
    ("clamu", {"clusters": 2, "affinity": "task_vectors"}),
    ("clamu", {"clusters": 2, "affinity": "random"}),
    ("clamu", {"clusters": "clients", "tuning": "sign_fixed"}),
    ("dare", {"alpha": [0.5, 1.0]}),
]
EXACT: list[tuple[str, dict[str, Any]]] = [
    *(
        (name, {key: value for key, value in SMALL.items() if key in parameters_of(row).model_fields and name != "tall"})
        for name, row in REGISTRY.items()
        if row.exactness == "exact"
    ),
    *VARIANTS,
]
NEEDING_ALL: list[tuple[str, dict[str, Any]]] = [("clamu", {"clusters": 2, "affinity": "task_vectors"}), ("average", {})]
"""Nobody keeps vectors here, so who joins late has everybody derived again."""
EVERY_PART: tuple[Part, ...] = (
    Sum(), *masked(0.5), *masked(1.0), Counts(1.0), Vectors(), EveryVector(), Features(), Gram(), Anchors(4),
    ClusterSums("vectors", 2), ClusterSums("dropped", share=0.5), ClusterSums("votes", 3, 0.5),
    ClusterSums("votes", 3, 0.5, "anchor"), ClusterSums("vectors", 2, by="anchor"),
)  # fmt: skip

Step = tuple[str, str, int]
LIVES = st.lists(
    st.tuples(st.sampled_from(["take", "take", "leave", "release", "reopen"]), st.sampled_from(NAMES), st.integers(0, 2)),
    max_size=14,
)
"""``take``: a client joins, comes back, or exchanges what it has for data of that number."""


def drawn(*key: Any) -> np.random.Generator:
    return np.random.default_rng(int(digest.of_json(key)[:15], 16))


def content(store: Store) -> dict[str, bytes]:
    return {name: store.read(name) for name in store.sizes()}


class Life:
    """Kept states and strategies of a made-up run, played as a simulator plays them.

    Attributes:
        data: by member, the number of its data.
    """

    def __init__(self, folder: Path, cases: Sequence[tuple[str, dict[str, Any]]], parts: tuple[Part, ...] = ()) -> None:
        self.data: dict[str, int] = {}
        self.strategies: list[Strategy[Any]] = []
        for place, (name, parameters) in enumerate(cases):
            made = parameters_of(REGISTRY[name]).model_validate(parameters)
            self.strategies.append(REGISTRY[name](made, SEED, folder / f"strategy-{place}"))
            self.strategies[-1].store = Memory()
        rules = {*(strategy.rule for strategy in self.strategies), *(["sign_fixed"] if parts else [])}
        self.kept = {
            rule: Kept(folder / f"kept-{rule}", rule, BOUNDS, (*parts, *self.parts_of(rule)), SEED) for rule in rules
        }

    def parts_of(self, rule: str | None) -> list[Part]:
        return [part for strategy in self.strategies if strategy.rule == rule for part in strategy.parts]

    def take(self, client: str, number: int) -> None:
        """Join, or exchange what is there for other data."""
        there, before = client in self.data, dict(self.data)
        self.data[client] = number
        for rule, kept in self.kept.items():
            sent = reply((client,), kept.declared, str(rule), self.data)
            if rule is None and there:
                kept.reregister(client, shards([client], self.data)[client])
            elif rule is None:
                kept.register(shards([client], self.data))
            elif kept.rejoins and len(kept.members) > there:
                self.derive_all(rule)
            elif there:
                kept.exchange(client, reply((client,), kept.declared, rule, before), sent)
            else:
                kept.absorb(sent)

    def derive_all(self, rule: str | None) -> None:
        old = self.kept[rule]
        for name in old.store.sizes():
            old.store.erase(name)
        kept = self.kept[rule] = Kept(old.folder, rule, BOUNDS, old.declared, SEED)
        kept.absorb(reply(tuple(self.data), kept.declared, str(rule), self.data))
        kept.seal()

    def leave(self, client: str) -> None:
        for rule, kept in self.kept.items():
            if any(part.summed for part in kept.parts):
                kept.subtract(client, reply((client,), (Sum(),), str(rule), self.data))
            kept.erase(client)
        del self.data[client]

    def release(self) -> None:
        for kept in self.kept.values():
            kept.seal()
        for strategy in self.strategies:
            strategy.localize(self.kept[strategy.rule], self.answering(strategy))
        for kept in self.kept.values():
            kept.changed.clear()
            kept.save()
        for strategy in self.strategies:
            strategy.save()

    def reopen(self) -> None:
        """A new process reads what the last one saved."""
        self.release()
        self.kept = {rule: Kept(kept.folder, rule, BOUNDS, kept.declared, SEED).load() for rule, kept in self.kept.items()}
        for strategy in self.strategies:
            strategy.chosen = {}
            strategy.load()

    def play(self, steps: Sequence[Step]) -> None:
        for what, client, number in steps:
            if what == "take" and self.data.get(client) != number:
                self.take(client, number)
            elif what == "leave" and client in self.data:
                self.leave(client)
            elif what in ("release", "reopen"):
                getattr(self, what)()
        self.release()

    def answering(self, strategy: Strategy[Any]) -> Any:
        """Clients whose every answer follows from what is asked, to the bit, and from their data; last job first."""

        def ask(kept: Kept, jobs: Sequence[Job]) -> Iterator[tuple[int, Reply]]:
            for index, job in reversed(list(enumerate(jobs))):
                mine = {client: self.data[client] for client in job.clients}
                shared = {name: digest.of_array(strategy.direction(kept, name)) for name in job.shared}
                if job.kind == "assign":
                    numbers = {client: anchor(client, job.facts["anchors"], mine[client]) for client in mine}
                    yield index, Reply(job.clients, {"anchors": numbers})
                elif job.kind == "score":
                    scores = []
                    for client, (served, scales) in zip(job.clients, served_in(job), strict=True):
                        arrays = {name: digest.of_array(array) for name, array in served.arrays.items()}
                        told = {key: fact for key, fact in served.facts.items() if key != "scale"}  # the grid's counts
                        key = [client, mine[client], told, arrays, {name: shared[name] for name in served.shared}]
                        scores.append([float(drawn(job.facts["part"], key, scale).random()) for scale in scales])
                    yield index, Reply(job.clients, {"scores": scores})
                else:
                    rng = drawn(job.kind, job.facts, mine, shared)
                    array = bits.pack(rng.random(SIZE) < 0.5) if job.kind == "learn_mask" else rng.normal(size=SIZE)
                    if tensors := job.facts.get("training", {}).get("tensors"):  # the others stay where they are
                        start, stop = (BOUNDS[number] for number in tensors)
                        array[:start] = array[stop:] = 0
                    name, kind = ("mask", np.uint8) if job.kind == "learn_mask" else ("vector", np.float32)
                    yield index, Reply(job.clients, {}, {name: array.astype(kind)})

        return ask


def ends_as_never(steps: Sequence[Step], cases: Sequence[tuple[str, dict[str, Any]]], parts: tuple[Part, ...] = ()) -> None:
    with tempfile.TemporaryDirectory() as folder:
        life, fresh = (Life(Path(folder) / name, cases, parts) for name in ("life", "fresh"))
        life.play(steps)
        if life.data:
            fresh.data = dict(sorted(life.data.items()))
            for rule, kept in fresh.kept.items():
                if rule is None:
                    kept.register(shards(fresh.data, fresh.data))
                else:
                    kept.absorb(reply(tuple(fresh.data), kept.declared, rule, fresh.data))
        fresh.release()
        for rule in fresh.kept:
            assert life.kept[rule].digest(life.kept[rule].declared) == fresh.kept[rule].digest(fresh.kept[rule].declared)
            assert content(life.kept[rule].store) == content(fresh.kept[rule].store)
        for one, other in zip(life.strategies, fresh.strategies, strict=True):
            assert one.chosen == other.chosen
            assert one.digest(life.kept[one.rule]) == other.digest(fresh.kept[one.rule])
            assert content(one.store) == content(other.store)
            for client in (*NAMES, "nobody"):
                served = [each.serve(of.kept[each.rule], client) for each, of in ((one, life), (other, fresh))]
                np.testing.assert_equal(*(vars(each) for each in served))


EVERYBODY: list[Step] = [("take", client, 0) for client in NAMES]
OFTEN: list[Step] = [
    *EVERYBODY, ("release", "a", 0), ("take", "a", 1), ("leave", "b", 0), ("reopen", "a", 0), ("take", "b", 2),
    ("leave", "c", 0), ("take", "c", 1), ("release", "a", 0), ("take", "d", 2), ("take", "d", 1), ("leave", "a", 0),
]  # fmt: skip
"""Examples leave, clients leave, come back, with other data in the same batch too, and lose examples twice in one."""


def test_all_exact_strategies_are_played() -> None:
    assert {name for name, _ in EXACT} == {name for name, row in REGISTRY.items() if row.exactness == "exact"}


@pytest.mark.parametrize(("name", "parameters"), EXACT, ids=[f"{name}-{place}" for place, (name, _) in enumerate(EXACT)])
def test_an_exact_strategy_is_the_state_of_who_and_what_is_left(name: str, parameters: dict[str, Any]) -> None:
    ends_as_never(OFTEN, [(name, parameters)])


@settings(max_examples=8, deadline=None)
@given(LIVES)
@example(EVERYBODY)
def test_any_life_of_all_exact_strategies_ends_as_never(steps: list[Step]) -> None:
    ends_as_never([*EVERYBODY[:3], *steps], EXACT)


@settings(max_examples=25, deadline=None)
@given(LIVES)
@example(OFTEN)
def test_any_life_of_every_part_ends_as_never(steps: list[Step]) -> None:
    ends_as_never(steps, [], EVERY_PART)


@settings(max_examples=25, deadline=None)
@given(LIVES)
@example(OFTEN)
def test_any_life_with_inner_products_ends_as_never(steps: list[Step]) -> None:
    ends_as_never(steps, NEEDING_ALL)
