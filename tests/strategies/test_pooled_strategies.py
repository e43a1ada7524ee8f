"""Strategies over pooled training, with trainings made up as functions of their pool and start instead of a model."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from updates import SEED, SIZE, departures, shards

from clients.errors import NotFiniteError
from clients.exact import digest
from clients.jobs import Job, Reply
from clients.work.pooled import Training
from clients.work.served import BASE, Ensemble, Linear, Masked
from strategies.edit import negmerge
from strategies.edit.negmerge import NegMergeParameters, choose, consensus, fold, variants
from strategies.rebuild import magmax, ties
from strategies.registry import REGISTRY
from strategies.state.clusters import number
from strategies.state.kept import Kept, left_of
from strategies.state.store import Memory
from strategies.strategy import MERGED, Strategy, parameters_of

CLIENTS = tuple("abcdefghijkl")
EDITED = ("negmerge", "linear_negation", "gradient_ascent", "salun", "l1_sparse")
Make = Callable[..., Kept]


def made_up(training: Training, start: np.ndarray | None) -> np.ndarray:
    """A vector that follows from the training, whichever tensors move, and where it starts, or is anchored."""
    seed = int(digest.of_json(training.model_dump(mode="json", exclude={"tensors"}))[:8], 16)
    drawn = np.random.default_rng(seed).normal(scale=1e-2, size=SIZE).astype(np.float32)
    return drawn if start is None else np.where(np.arange(SIZE) % 5, drawn - np.float32(0.1) * start, 0).astype(np.float32)


class Asked:
    """Carries out jobs without a model, last one first, and notes trainings and scored clients."""

    def __init__(self, strategy: Strategy[Any], scores: Callable[[str, float], float] = lambda client, scale: 0.5) -> None:
        self.strategy, self.scores = strategy, scores
        self.trainings: list[tuple[Training, str | None]] = []
        self.scored: list[str] = []
        self.parts: dict[str, str] = {}

    def __call__(self, kept: Kept, jobs: Sequence[Job]) -> Iterator[tuple[int, Reply]]:
        for index, job in reversed(list(enumerate(jobs))):
            start = job.facts.get("start")
            if job.kind == "train":
                training = Training.model_validate(job.facts["training"])
                self.trainings.append((training, start))
                where = [self.strategy.direction(kept, name) for name in job.shared]
                at = sum(where) if where else None
                yield index, Reply(job.clients, {}, {"vector": made_up(training, at)})
            else:
                self.scored += job.clients
                self.parts |= dict.fromkeys(job.clients, job.facts["part"])
                items = zip(job.clients, job.facts["items"], strict=True)
                yield index, Reply(job.clients, {"scores": [[self.scores(c, s) for s in i["scales"]] for c, i in items]})


def made(name: str, folder: Path, make: Make, clients: Sequence[str] = CLIENTS, **parameters: Any) -> tuple[Any, Kept]:
    cls = REGISTRY[name]
    strategy = cls(parameters_of(cls).model_validate(parameters), SEED, folder)
    strategy.folder.mkdir(parents=True, exist_ok=True)
    kept = make(strategy.parts, strategy.rule)
    kept.register(shards(clients))
    return strategy, kept


def test_what_each_declares() -> None:
    exact = {name: (REGISTRY[name].exactness, REGISTRY[name].deletion) for name in ("central", "sisa")}
    assert exact == dict.fromkeys(("central", "sisa"), ("exact", "retrain"))
    approximate = {name for name, row in REGISTRY.items() if row.exactness == "approximate"}
    assert approximate == set(EDITED) == {name for name, row in REGISTRY.items() if row.deletion == "edit"}


def test_central_trains_on_all_who_are_there_and_only_when_they_change(make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("central", tmp_path / "a", make_kept, CLIENTS[:3], steps=7, batch=5)
    asked = Asked(strategy)
    strategy.localize(kept, asked)
    strategy.localize(kept, asked)
    ((training, start),) = asked.trainings
    assert [term.clients for term in training.terms] == [("a", "b", "c")]
    assert (training.steps, training.batch, training.rate, training.l1, training.salient, start) == (
        7,
        5,
        1.0,
        0.0,
        None,
        None,
    )
    np.testing.assert_array_equal(strategy.vector(MERGED), made_up(training, None))
    kept.erase("b")
    strategy.localize(kept, asked)
    fresh, others = made("central", tmp_path / "b", make_kept, ("c", "a"), steps=7, batch=5)
    fresh.localize(others, Asked(fresh))
    assert strategy.digest(kept) == fresh.digest(others)
    assert strategy.serve(kept, "a") == strategy.serve(kept, "b") == Masked("merged")
    for client in ("a", "c"):
        kept.erase(client)
    strategy.localize(kept, Asked(strategy))
    assert strategy.serve(kept, "a") == BASE
    assert list(strategy.folder.glob("*.safetensors")) == []


@given(batches=departures(CLIENTS))
def test_sisa_is_the_state_of_those_who_stayed(tmp_path_factory: pytest.TempPathFactory, batches: list[list[str]]) -> None:
    def new(clients: Sequence[str]) -> tuple[Any, Kept]:
        folder = tmp_path_factory.mktemp("sisa")
        make = lambda parts, rule: Kept(folder / "kept", rule, (0, SIZE), parts, SEED)  # noqa: E731
        strategy, kept = made("sisa", folder / "own", make, clients, shards=3, slices=2, steps=4, batch=6)
        strategy.localize(kept, Asked(strategy))
        return strategy, kept

    strategy, kept = new(CLIENTS)
    for batch in batches:
        for client in batch:
            kept.erase(client)
        strategy.localize(kept, Asked(strategy))
    left = set(itertools.chain(*batches))
    fresh, others = new([client for client in CLIENTS if client not in left])
    assert strategy.digest(kept) == fresh.digest(others)
    assert strategy.serve(kept, "a") == fresh.serve(others, "nobody")
    served = strategy.serve(kept, "a")
    names = served.names if isinstance(served, Ensemble) else ()
    assert len(names) == len({number(c, 3, SEED) for c in others.members})
    assert (served == BASE) == (not others.members)


def test_sisa_trains_only_what_the_leaver_was_in(make_kept: Make, tmp_path: Path) -> None:
    """Against SISA written out: each shard's stages in turn, each on all slices so far."""
    strategy, kept = made("sisa", tmp_path, make_kept, shards=2, slices=3, steps=4, batch=6)
    place = {c: (number(c, 2, SEED), number(f"slice of {c}", 3, SEED)) for c in CLIENTS}
    assert set(place.values()) == {(s, r) for s in range(2) for r in range(3)}

    def right(shard: int, stage: int) -> np.ndarray:
        before = right(shard, stage - 1) if stage else None
        clients = [c for c in CLIENTS if c in kept.members and place[c][0] == shard and place[c][1] <= stage]
        training = Training.model_validate({"terms": [{"clients": clients}], "steps": 4, "batch": 6})
        return made_up(training, before) + (0 if before is None else before)

    def check() -> None:
        for shard in range(2):
            for stage in range(3):
                np.testing.assert_array_equal(strategy.vector(f"shard-{shard}-stage-{stage}"), right(shard, stage))

    asked = Asked(strategy)
    strategy.localize(kept, asked)
    assert len(asked.trainings) == 6
    check()
    shards = {shard: [c for c in CLIENTS if place[c][0] == shard] for shard in range(2)}
    for stage in (2, 1, 0):  # the later the slice, the cheaper
        gone = next(c for c in shards[1] if place[c][1] == stage and list(place.values()).count(place[c]) > 1)
        kept.erase(gone)
        asked = Asked(strategy)
        strategy.localize(kept, asked)
        assert [start for _, start in asked.trainings] == [f"shard-1-stage-{r - 1}" if r else None for r in range(stage, 3)]
        assert not {c for t, _ in asked.trainings for term in t.terms for c in term.clients} - set(shards[1]) - {gone}
        check()
        place.pop(gone)
        shards[1].remove(gone)
    assert strategy.serve(kept, "zz") == Ensemble(("shard-0-stage-2", "shard-1-stage-2"))


@pytest.mark.parametrize("name", EDITED)
def test_edited_models_start_from_the_central_one(name: str, make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made(name, tmp_path / "a", make_kept, steps=3, batch=4)
    central, _ = made("central", tmp_path / "b", make_kept, steps=3, batch=4)
    for one in (strategy, central):
        one.localize(kept, Asked(one))
    np.testing.assert_array_equal(strategy.vector(MERGED), central.vector(MERGED))
    strategy.localize(kept, Asked(strategy))  # nobody has left
    np.testing.assert_array_equal(strategy.vector(MERGED), central.vector(MERGED))
    for client in CLIENTS:
        kept.erase(client)
    asked = Asked(strategy)
    strategy.localize(kept, asked)  # nobody stays
    assert (asked.trainings, strategy.serve(kept, "a"), strategy.chosen["members"]) == ([], BASE, {})
    strategy.save()
    assert list(strategy.folder.glob("*.safetensors")) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gradient_ascent", {"terms": [{"clients": ("b", "d"), "weight": -1.0}], "steps": 6, "rate": 0.5}),
        (
            "salun",
            {
                "terms": [
                    {"clients": ("b", "d"), "relabelled": True},
                    {"clients": tuple("acefghijkl"), "weight": 0.3},
                ],
                "steps": 6,
                "rate": 0.5,
                "salient": 0.4,
            },
        ),
        ("l1_sparse", {"terms": [{"clients": tuple("acefghijkl")}], "steps": 6, "rate": 0.5, "l1": 0.01}),
    ],
)
def test_edits_are_one_training_each(name: str, expected: dict[str, Any], make_kept: Make, tmp_path: Path) -> None:
    extra = {"salun": {"salient": 0.4, "retain": 0.3}, "l1_sparse": {"l1": 0.01}}.get(name, {})
    strategy, kept = made(name, tmp_path, make_kept, edit_steps=6, edit_batch=3, edit_rate=0.5, **extra)
    strategy.localize(kept, Asked(strategy))
    before = strategy.vector(MERGED)
    for client in "db":
        kept.erase(client)
    asked = Asked(strategy)
    strategy.localize(kept, asked)
    assert asked.trainings == [(Training.model_validate(expected | {"batch": 3}), "merged")]
    np.testing.assert_array_equal(strategy.vector(MERGED), before + made_up(asked.trainings[0][0], before))
    assert strategy.chosen["members"] == shards("acefghijkl")


STACKS = st.tuples(st.integers(1, 10), st.integers(1, 23)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.integers(-8, 8).map(lambda number: number / 1024))
)


@given(STACKS)
def test_strict_consensus_is_the_mean_where_all_signs_are_equal(stack: np.ndarray) -> None:
    found = consensus(*fold(iter(stack), stack.shape[1]), 1.0)
    agree = (stack > 0).all(0) | (stack < 0).all(0)
    expected = np.where(agree, stack.astype(np.float64).mean(0), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)
    assert ((found != 0) == agree).all()
    np.testing.assert_array_equal(found, consensus(*fold(iter(stack[::-1]), stack.shape[1]), 1.0))


@pytest.mark.parametrize("tenths", range(6, 11))
def test_relaxed_consensus_is_a_majority(tenths: int) -> None:
    """Column k has k plus and 10 − k minus signs."""
    stack = np.array([[1.0 if row < k else -1.0 for k in range(11)] for row in range(10)], dtype=np.float32)
    found = consensus(*fold(iter(stack), 11), tenths / 10)
    assert ((found != 0) == [max(k, 10 - k) >= tenths for k in range(11)]).all()
    np.testing.assert_allclose(found[found != 0], [(2 * k - 10) / 10 for k in range(11) if max(k, 10 - k) >= tenths])


def test_the_strength_that_forgets_most_and_keeps_95_percent() -> None:
    assert choose([0.9, 0.5, 0.4, 0.1], [0.8, 0.79, 0.765, 0.75]) == 2  # 0.76 is what has to be left
    assert choose([0.9, 0.4, 0.4, 0.1], [0.8, 0.9, 0.9, 0.7]) == 1  # the smaller of equals
    assert choose([0.3, 0.5], [0.8, 0.9]) == 0
    assert choose([0.3, 0.1], [0.0, 0.0]) == 1  # there is nothing to keep
    nan = float("nan")
    assert choose([0.3, nan, 0.2, 0.1], [0.8, 0.8, 0.8, nan]) == 2  # what is not finite loses
    for forget, control in (([0.3, 0.1], [nan, 0.8]), ([nan, nan], [0.8, 0.8])):
        with pytest.raises(NotFiniteError, match="no strength of the negation gives finite scores"):
            choose(forget, control)


def test_variants_differ_in_rate_and_order() -> None:
    found = variants(NegMergeParameters(tunings=5, edit_steps=4, edit_batch=3, edit_rate=0.2), ["x", "y"])
    np.testing.assert_allclose([t.rate for t in found], [0.1, 0.1 * 2**0.5, 0.2, 0.2 * 2**0.5, 0.4])
    assert [t.order for t in found] == [0, 1, 2, 3, 4]
    assert {(t.steps, t.batch, t.terms[0].clients, t.terms[0].weight) for t in found} == {(4, 3, ("x", "y"), 1.0)}
    assert [t.rate for t in variants(NegMergeParameters(tunings=1), ["x"])] == [1.0]


def test_variants_differ_in_noise() -> None:
    """Seven of thirty settings: every fifth, which is where 0, 29/6, 2 · 29/6, ... lie nearest."""
    found = variants(NegMergeParameters(tunings=7), ["x"])
    assert [t.augment for t in found] == [(1, 1), (1, 6), (2, 1), (2, 5), (2, 10), (3, 5), (3, 10)]
    assert [t.dropout for t in found] == [0.0, 0.1, 0.2, 0.0, 0.1, 0.2, 0.0]
    assert {t.decay for t in found} == {0.0}
    everything = {t.augment for t in variants(NegMergeParameters(tunings=30), ["x"])}
    assert everything == {(operations, magnitude) for operations in (1, 2, 3) for magnitude in range(1, 11)}
    published = variants(NegMergeParameters(tunings=4, vary=("augment",), decay=0.1), ["x"])
    assert {(t.rate, t.dropout, t.decay) for t in published} == {(1.0, 0.0, 0.1)}
    assert len({t.augment for t in published}) == len({t.order for t in published}) == 4
    (alone, _) = variants(NegMergeParameters(tunings=2, vary=()), ["x"])
    assert alone == Training.model_validate({"terms": [{"clients": ["x"]}], "steps": 10, "batch": 2})


def scores(client: str, scale: float) -> float:
    """The leaver loses a point of score per λ, the others a tenth: at λ = 0.5 they are at exactly 95 %."""
    return 1.0 + scale if client == "d" else 1.0 + 0.1 * scale + (1e-9 if scale == -0.5 else 0.0)


@pytest.mark.parametrize("merge", ["strict", "uniform", "ties", "magmax"])
def test_negmerge_subtracts_the_merged_vector(merge: str, make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("negmerge", tmp_path, make_kept, merge=merge, tunings=4)
    strategy.localize(kept, Asked(strategy))
    before = strategy.vector(MERGED)
    kept.erase("d")
    asked = Asked(strategy, scores)
    strategy.localize(kept, asked)
    assert [t.order for t, _ in asked.trainings] == [3, 2, 1, 0]  # as they were carried out
    assert sorted(asked.scored) == sorted(CLIENTS)
    # what is to be forgotten is the leaver's training data; the others must keep what they are evaluated on
    assert asked.parts == dict.fromkeys(CLIENTS, "chosen_on") | {"d": "train"}
    stack = np.array([made_up(t, before) for t in variants(strategy.parameters, ["d"])])
    agree = (stack > 0).all(0) | (stack < 0).all(0)
    rows = [vector.__getitem__ for vector in stack]
    tau = {
        "strict": np.where(agree, stack.mean(0), 0),
        "uniform": stack.mean(0),
        "ties": ties.merge(rows, SIZE, 0.2),
        "magmax": magmax.merge(rows, SIZE),
    }[merge]
    assert 0 < np.count_nonzero(tau) < SIZE
    np.testing.assert_allclose(strategy.vector(MERGED), before - 0.5 * tau, rtol=1e-5, atol=1e-8)
    assert strategy.chosen["lambda"] == 0.5
    assert strategy.chosen["kept_share"] == np.count_nonzero(tau) / SIZE
    assert strategy.told["merge_seconds"] > 0
    strategy.save()  # nothing of the leaver is left
    assert sorted(path.name for path in strategy.folder.iterdir()) == ["chosen.json", "merged.safetensors"]


def test_the_time_of_a_merge_is_without_waiting_for_its_vectors() -> None:
    waiting = negmerge.Waiting()

    def slow() -> Iterator[int]:
        for each in range(3):
            time.sleep(0.05)
            yield each

    assert list(waiting.through(slow())) == [0, 1, 2]
    assert waiting.waited >= 0.15
    assert 0 <= waiting.merging < 0.15


def test_best_is_the_single_vector_that_forgets_most(make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("negmerge", tmp_path, make_kept, merge="best", tunings=4)
    strategy.localize(kept, Asked(strategy))
    before = strategy.vector(MERGED)
    kept.erase("d")
    asked: Asked

    def by_variant(client: str, scale: float) -> float:
        falls = [0.1, 0.4, 0.9, 0.9][len(asked.trainings) - 1]  # the third and the fourth forget equally well
        return 1 + falls * scale if client == "d" else 1.0

    asked = Asked(strategy, by_variant)
    strategy.localize(kept, asked)
    chosen = made_up(variants(strategy.parameters, ["d"])[2], before)
    np.testing.assert_allclose(strategy.vector(MERGED), before - chosen, rtol=1e-6)
    assert strategy.chosen["lambda"] == 1.0
    assert len(asked.scored) == 4 * len(CLIENTS)


def test_the_grid_is_the_papers() -> None:
    np.testing.assert_allclose(negmerge.LAMBDAS, [i / 20 for i in range(21)])


def test_linear_negation_displaces_the_central_model(make_kept: Make, tmp_path: Path) -> None:
    """Two releases; λ is 0.5 at both, where the members have exactly 95 % left. The central model stays where it is."""
    strategy, kept = made("linear_negation", tmp_path / "own", make_kept, edit_steps=6, edit_batch=3, edit_rate=0.5)
    strategy.localize(kept, Asked(strategy))
    around = strategy.vector(MERGED)
    assert strategy.serve(kept, "a") == Masked("merged")
    expected = np.zeros(SIZE, dtype=np.float32)
    for number_, starts in ((0, None), (1, "displacement")):
        kept.erase("db"[number_])
        asked = Asked(strategy, lambda client, scale, gone="db"[number_]: scores("d" if client == gone else "x", scale))
        strategy.localize(kept, asked)
        terms = [{"clients": ["db"[number_]]}]
        training = Training.model_validate({"terms": terms, "steps": 6, "batch": 3, "rate": 0.5})
        assert asked.trainings == [(training, starts)]
        assert sorted(asked.scored) == sorted([*kept.members, "db"[number_]])
        expected -= np.float32(0.5) * made_up(training, around + expected)
        np.testing.assert_allclose(strategy.vector("displacement"), expected, rtol=1e-5)
        np.testing.assert_array_equal(strategy.vector(MERGED), around)
        assert strategy.chosen["lambda"] == 0.5
        assert strategy.serve(kept, "a") == Linear("displacement", "merged")
        strategy.save()
        assert len(list(strategy.folder.glob("*.safetensors"))) == 2
    kept.register(shards("d"))  # who is new is learned by training again
    strategy.localize(kept, Asked(strategy))
    strategy.save()
    fresh, others = made("linear_negation", tmp_path / "fresh", make_kept, sorted(kept.members), **PARAMETERS)
    fresh.localize(others, Asked(fresh))
    assert strategy.serve(kept, "a") == Masked("merged")
    assert strategy.digest(kept) == fresh.digest(others)


PARAMETERS = {"edit_steps": 6, "edit_batch": 3, "edit_rate": 0.5}


@pytest.mark.parametrize("name", EDITED)
def test_an_edit_is_made_once_wherever_a_run_is_killed(name: str, make_kept: Make, tmp_path: Path) -> None:
    """Files are committed together: killed before, the next run starts from the old ones; after, there is nothing to do."""

    def again(committed: dict[str, bytes]) -> Any:
        cls = REGISTRY[name]
        other = cls(parameters_of(cls).model_validate(PARAMETERS), SEED, tmp_path / "a")
        other.store = Memory()
        other.store.content |= committed
        other.load()
        return other

    strategy, kept = made(name, tmp_path / "a", make_kept, **PARAMETERS)
    strategy.store = Memory()
    strategy.localize(kept, Asked(strategy))
    strategy.save()
    committed = dict(strategy.store.content)
    kept.erase("d")
    before = strategy.digest(kept)
    strategy.localize(kept, Asked(strategy, scores))
    once = strategy.digest(kept)
    killed = again(committed)  # what ``strategy`` wrote since is gone
    assert killed.digest(kept) == before
    killed.localize(kept, Asked(killed, scores))
    assert killed.digest(kept) == once != before
    killed.save()
    files = killed.store.sizes()
    displaced = ["displacement.safetensors"] if name == "linear_negation" else []
    assert list(files) == ["chosen.json", *displaced, "merged.safetensors"]
    last = again(killed.store.content)
    asked = Asked(last, scores)
    last.localize(kept, asked)
    last.save()
    assert (asked.trainings, last.digest(kept)) == ([], once)
    assert last.store.sizes() == files


@pytest.mark.parametrize("name", EDITED)
def test_an_edit_is_made_with_exactly_the_examples_that_left(name: str, make_kept: Make, tmp_path: Path) -> None:
    """``c`` loses some examples, ``d`` leaves, and ``b`` does both."""
    strategy, kept = made(name, tmp_path, make_kept, **PARAMETERS)
    strategy.localize(kept, Asked(strategy))
    before = strategy.vector(MERGED)
    for client in "bc":
        kept.reregister(client, f"less of {client}")
    for client in "bd":
        kept.erase(client)
    leavers, stay = ("b", "d", left_of("b"), left_of("c")), tuple(c for c in CLIENTS if c not in "bd")
    asked = Asked(strategy, lambda client, scale: 1 + scale if client in leavers else 1.0)
    strategy.localize(kept, asked)
    pools = {term.clients for training, _ in asked.trainings for term in training.terms}
    assert pools == {"l1_sparse": {stay}, "salun": {leavers, stay}}.get(name, {leavers})
    if name in ("negmerge", "linear_negation"):
        assert set(asked.scored) == {*leavers, *stay}
        assert {client for client in asked.parts if asked.parts[client] == "train"} == set(leavers)
    changed = strategy.vector("displacement" if name == "linear_negation" else MERGED)
    assert not np.array_equal(changed, before)
    assert strategy.chosen["members"] == shards(stay) | {"c": "less of c"}
    kept.changed.clear()
    asked = Asked(strategy)
    strategy.localize(kept, asked)  # it is not made twice
    assert asked.trainings == []


@pytest.mark.parametrize("name", [*EDITED, "central"])
@pytest.mark.parametrize("loses", [False, True])
def test_who_comes_back_with_other_data_is_new(name: str, loses: bool, make_kept: Make, tmp_path: Path) -> None:
    """All of it in one batch, so that the members have the names that they had; before leaving it may lose examples."""
    strategy, kept = made(name, tmp_path / "a", make_kept)
    strategy.localize(kept, Asked(strategy))
    if loses:
        kept.reregister("c", "less of c")
    kept.erase("c")
    kept.register({"c": "other data of c"})
    asked = Asked(strategy)
    strategy.localize(kept, asked)
    ((training, start),) = asked.trainings
    assert ([term.clients for term in training.terms], start) == ([CLIENTS], None)
    fresh, others = made(name, tmp_path / "b", make_kept)
    others.register({"c": "other data of c"})
    fresh.localize(others, Asked(fresh))
    assert strategy.digest(kept) == fresh.digest(others)


@pytest.mark.parametrize("name", [*EDITED, "central", "sisa"])
def test_who_comes_back_with_the_same_data_has_never_left(name: str, make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made(name, tmp_path, make_kept)
    strategy.localize(kept, Asked(strategy))
    before = strategy.digest(kept)
    kept.reregister("c", "less of c")
    kept.erase("c")
    kept.register(shards("c"))
    asked = Asked(strategy)
    strategy.localize(kept, asked)
    assert (asked.trainings, strategy.digest(kept)) == ([], before)
