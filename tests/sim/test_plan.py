"""The price of a scenario before it runs: by hand, and against real runs of the tiny scenario with every exact strategy."""

import io
import math
import mmap
import os
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noting import noted_run
from rich.console import Console
from safetensors.numpy import save
from test_run import records_of, summary_of
from tiny_scenario import MERGING, POOLED, TINY, tiny

from clients.data.shards import Example, Shard
from clients.errors import InputError
from clients.exact import bits
from clients.exact.grid import Grid
from clients.jobs import Job, Reply, perform, train_job, tune_job
from clients.settings import TuningSpec
from clients.work.contributions import Wanted
from clients.work.pooled import Term, Training
from clients.work.rules import Rule
from clients.work.served import Masked, Served
from clients.work.site import Site, open_site
from clients.work.tuning import Tuned
from sim import cli
from sim.plan import machine, needs, plan, work
from sim.plan import seconds as pricing
from sim.plan import speeds as pace
from sim.plan.needs import Need
from sim.plan.pairs import pair_seconds
from sim.plan.rehearsal import Rehearsal, rehearsals_of
from sim.plan.sizes import Sizes, sizes_of
from sim.plan.speeds import CLIENTS, Speeds, batch_size, calibrate, largest, some_of
from sim.plan.work import Release
from sim.run import run_scenario
from sim.scenario.model import Scenario
from sim.scenario.workers import WorkersSpec
from strategies.registry import REGISTRY
from strategies.retrain.sisa import Sisa
from strategies.scale import client_scores
from strategies.state.cluster_sums import ClusterSums
from strategies.state.clusters import number
from strategies.state.kept import Kept
from strategies.state.layout import safetensors_bytes
from strategies.state.masks import Counts, masked
from strategies.state.sum import MEAN, Sum
from strategies.strategy import MERGED, Ask, Parameters, RuledParameters, Strategy
from strategies.work import Work

EVERYTHING: list[Any] = [
    *TINY["strategies"],
    *(entry for entry in MERGING[1:] if "anchor" not in str(entry)),  # who lies where is not known beforehand
    *({name: p | {"label": f"pooled_{p.get('label', name)}"}} for entry in POOLED for name, p in entry.items()),
]
EIGHT = tuple(f"u{i}" for i in range(8))
SIZES = Sizes(EIGHT, parameters=1000, tunable=100, tensors=4, features=6, process=5000)
ONE = SIZES.layout("plain", 7).vector_bytes
SPEEDS = Speeds({"plain": 0.5}, {"plain": 0.25}, 0.125, 4.0, 5.0, 30.0, 9000)


def left_of(scenario: Scenario, sizes: Sizes) -> tuple[str, ...]:
    """Who is there after the stream."""
    return work.remaining(work.releases_of(scenario, sizes.clients, 7), sizes.clients)


def run_memory(scenario: Scenario, measured: int = 0) -> int:
    return needs.run_memory(Rehearsal(scenario, SIZES, 7), measured)


def counted_run(scenario: Scenario, out: Path) -> tuple[Path, dict[str, int]]:
    """A finished run, and the steps, tunings and evaluations that its workers have really done."""
    run, noted = noted_run(scenario, out)
    names = ("gradient_steps", "client_tunings", "evaluations")
    return run, {name: sum(facts.get(name, 0) for _, facts in noted) for name in names}


@pytest.fixture(scope="module")
def everything(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, Path, dict[str, int]]:
    """A run of every exact strategy, not to be changed, and what was really done."""
    scenario = tiny(strategies=EVERYTHING)
    return scenario, *counted_run(scenario, tmp_path_factory.mktemp("everything") / "run")


@pytest.fixture(scope="module")
def sizes(site: Site) -> Sizes:
    scenario = tiny(strategies=["clamu", "sift_masks"], tuning={"steps": 1})
    here = open_site(scenario.settings(7))
    return calibrate(scenario, here, sizes_of(here, scenario))[0]


# -- by hand ----------------------------------------------------------------------------------------------------------


def alone(entry: Any) -> tuple[Rehearsal, str]:
    """Dry runs of one strategy, and its label."""
    rehearsal = Rehearsal(tiny(strategies=[entry]), SIZES, 7)
    (label,) = rehearsal.strategies
    return rehearsal, label


def storage(entry: Any, *history: tuple[str, ...]) -> int:
    return needs.storage(*alone(entry), *history)


def rows(scenario: Scenario, sizes: Sizes) -> list[plan.Row]:
    return plan.rows_of(Rehearsal(scenario, sizes, 7))


FIVE = ("a", "b", "c", "d", "e")
RELEASES = [Release(("a", "b"), ("c", "d", "e")), Release(("c",), ("d", "e"))]
EDIT = {"steps": 40, "batch": 8, "edit_steps": 3, "edit_batch": 2}


def choices(first: int, then: int = 0) -> tuple[Work, Work]:
    return Work(5, evaluations=first), Work(3, evaluations=then)


@pytest.mark.parametrize(
    ("entry", "learn", "forget"),
    [
        ("zero_shot", Work(), Work()),
        ("local", Work(5), Work()),
        ("mask_only", Work(5), Work()),
        ("average", Work(5), Work(3)),
        ({"average": {"alpha": [1.0, 2.0]}}, *choices(10, 2 * 3 + 2 * 2)),
        ({"sift_masks": {"keep": 1.0}}, *choices(25, 5 * 3 + 5 * 2)),
        ("sift_masks", *choices(40, 8 * 3 + 8 * 2)),
        ({"sift_masks": {"alpha": 1.0}}, *choices(0)),
        ({"clamu": {"steps": 30}}, Work(5, 150), Work(3, 30 * 3 + 30 * 2)),
        ("ties", Work(5), Work(3 + 2)),
        (
            {"tall": {"density": [0.1, 0.2], "alpha": [1.0, 2.0, 3.0]}},
            Work(5, evaluations=30),
            Work(5, evaluations=6 * 3 + 6 * 2),
        ),
        ({"central": {"steps": 40, "batch": 8}}, Work(0, 0, 5, 40, 320), Work(0, 0, 3 + 2, 80, 640)),
        ({"apa": {"clusters": 1, "steps": 40, "batch": 8}}, Work(0, 0, 5, 40, 320, 5), Work(0, 0, 3 + 2, 80, 640, 3 + 2)),
        ({"gradient_ascent": EDIT}, Work(0, 0, 5, 40, 320), Work(0, 0, 2 + 1, 6, 12)),
        ({"l1_sparse": EDIT}, Work(0, 0, 5, 40, 320), Work(0, 0, 3 + 2, 6, 12)),
        ({"salun": EDIT}, Work(0, 0, 5, 40, 320), Work(0, 0, 5 + 3, 14, 28)),
        ({"linear_negation": EDIT}, Work(0, 0, 5, 40, 320), Work(0, 0, 3, 6, 12, 21 * (5 + 3))),
        ({"negmerge": EDIT | {"tunings": 4}}, Work(0, 0, 5, 40, 320), Work(0, 0, 4 * 3, 24, 48, 21 * (5 + 3))),
    ],
)
def test_work_follows_from_the_deletion_rule(entry: Any, learn: Work, forget: Work) -> None:
    """Five clients; two leave, then one."""
    rehearsal, label = alone(entry)
    assert work.learning(rehearsal, label, FIVE) == learn
    assert work.forgetting(rehearsal, label, RELEASES) == forget


def test_sisa_trains_a_shard_again_from_the_first_slice_that_has_changed() -> None:
    """One shard, two slices: stage 0 has those of slice 0, stage 1 everybody. Whoever leaves slice 1 costs one stage."""
    rehearsal, label = alone({"sisa": {"shards": 1, "slices": 2, "steps": 10, "batch": 4}})
    sisa = rehearsal.strategies[label]
    assert isinstance(sisa, Sisa)
    (shard,) = sisa.slices_of(EIGHT)
    zero, one = map(len, shard)
    assert min(zero, one) >= 2
    assert zero + one == 8
    assert work.learning(rehearsal, label, EIGHT) == Work(0, 0, zero + 8, 20, 80)
    early, late = (Release((part[0],), tuple(c for c in EIGHT if c != part[0])) for part in shard)
    assert work.forgetting(rehearsal, label, [early]) == Work(0, 0, zero - 1 + 7, 20, 80)
    assert work.forgetting(rehearsal, label, [late]) == Work(0, 0, 7, 10, 40)
    assert needs.own_bytes(rehearsal, label, EIGHT) == 2 * ONE
    assert needs.own_bytes(rehearsal, label, tuple(shard[1])) == ONE
    assert needs.own_bytes(rehearsal, label, EIGHT, tuple(shard[1])) == ONE


def test_apa_trains_the_leavers_cluster_and_has_everybody_score_it() -> None:
    rehearsal, label = alone({"apa": {"clusters": 2, "steps": 10, "batch": 4}})
    one, other = ([c for c in EIGHT if number(c, 2, 7) == k] for k in (0, 1))
    assert min(len(one), len(other)) >= 2
    assert work.learning(rehearsal, label, EIGHT) == Work(0, 0, 8, 20, 80, 16)
    stay = tuple(c for c in EIGHT if c != one[0])
    assert work.forgetting(rehearsal, label, [Release((one[0],), stay)]) == Work(0, 0, len(one) - 1, 10, 40, 7)
    assert work.forgetting(rehearsal, label, [Release(tuple(one), tuple(other))]) == Work()
    assert rehearsal.localizing(label, stay, EIGHT) == Work(0, 0, len(one), 10, 40, 7 + 2)  # who joins scores both
    assert needs.own_bytes(rehearsal, label, EIGHT) == 2 * ONE
    assert needs.own_bytes(rehearsal, label, tuple(other)) == ONE
    assert needs.own_bytes(rehearsal, label, EIGHT, tuple(other)) == ONE
    assert needs.server_memory(rehearsal, label) == 5000 + 2000 + 2 * 400


def test_a_scale_is_chosen_by_fifty_members_at_most_and_by_nobody_if_there_is_none() -> None:
    rehearsal, label = alone({"average": {"alpha": [1.0, 2.0]}})
    many = tuple(f"m{i}" for i in range(500))
    assert rehearsal.localizing(label, (), many) == Work(evaluations=2 * 50)
    assert rehearsal.localizing(label, many, ()) == Work()


def test_gradient_steps_are_those_of_tunings_masks_and_pools() -> None:
    assert Work(5, 7, 9, 11, 13, 15).gradient_steps(20) == 100 + 7 + 11
    assert work.from_scratch(*alone("average"), RELEASES) == Work(5)
    assert work.from_scratch(*alone({"central": {"steps": 40, "batch": 8}}), RELEASES) == Work(0, 0, 5, 80, 640)


class Magic(Strategy[Parameters]):
    """A strategy that nobody has heard of: it trains on everybody, and everybody says what that is worth."""

    exactness = "approximate"
    deletion = "by magic"  # type: ignore[assignment]

    def localize(self, kept: Kept, ask: Ask) -> None:
        members = tuple(sorted(kept.members))
        for _, reply in ask(kept, [train_job(Training(terms=(Term(clients=members),), steps=7, batch=3))]):
            self.keep_merged(reply.arrays["vector"])
        scores = client_scores(kept, ask, [(client, Masked(MERGED)) for client in members], [1.0])
        self.chosen = {"best": max(score for row in scores for score in row)}

    def serve(self, kept: Kept, client: str) -> Served:
        return Masked(MERGED)


def test_an_unknown_rule_has_its_true_price_and_what_is_approximate_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody is trained on for 7 steps of 3 examples and asked once: eight, six, four, and four in the audit."""
    monkeypatch.setitem(REGISTRY, "other", Magic)
    scenario = tiny(strategies=["average", "other"])
    rehearsal = Rehearsal(scenario, SIZES, 7)
    average, other = plan.rows_of(rehearsal)
    assert other.learn == Work(0, 0, 8, 7, 21, 8)
    assert other.forget == Work(0, 0, 6 + 4, 14, 42, 6 + 4)
    assert (other.kept, other.memory) == (ONE, 5000 + 2000)
    done, rules = work.of_run(rehearsal, EIGHT)
    assert rules == {"plain": 8 + 4 + 4}
    assert done == Work(16, 0, 8 + 6 + 4 + 4, 4 * 7, 4 * 21, 8 + 6 + 4 + 4 + 2 * 3 * 8)  # all evaluated three times
    assert (average.warning, other.warning) == ("", "cannot delete exactly: something of the forgotten is left")
    lines = shown(plan.table(scenario, SIZES, SPEEDS, [other], 130), 130).splitlines()
    assert " ".join(lines[-2].split()[:12]) == "other NO by magic 8 / 2.5 / 10 7 / 14"


class LayeredParameters(RuledParameters):
    """``layers``: numbers of layers, which are no grid."""

    layers: tuple[int, ...] = (1, 2, 3)


class Layered(Strategy[LayeredParameters]):
    """A mean, and a tuple among the parameters."""

    deletion = "subtract"
    parts = (Sum(),)

    def localize(self, kept: Kept, ask: Ask) -> None:
        self.chosen = {"layers": list(self.parameters.layers)}

    def serve(self, kept: Kept, client: str) -> Served:
        return Masked(MEAN)


def test_a_tuple_that_is_no_grid_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRY, "layered", Layered)
    rehearsal, label = alone({"layered": {"layers": [4, 5, 6, 7]}})
    assert work.learning(rehearsal, label, FIVE) == Work(5)
    assert work.forgetting(rehearsal, label, RELEASES) == Work(3)
    assert rehearsal.outcome(label, FIVE).work == Work()


class Paired(Strategy[RuledParameters]):
    """A mask for every two members, and two vectors."""

    deletion = "subtract"
    parts = (Sum(),)

    def localize(self, kept: Kept, ask: Ask) -> None:
        pairs = [f"pair-{i}" for i in range((len(kept.members) + 1) // 2)]
        self.erase_masks(but=pairs)
        mean = kept.direction(MEAN)
        for name in pairs:
            self.keep_mask(name, bits.pack(mean > 0))
        for name, sign in (("there", 1), ("back", -1)):
            self.keep_vector(name, np.float32(sign) * mean)

    def serve(self, kept: Kept, client: str) -> Served:
        return Masked("there", mask=self.mask("pair-0"), start="back") if client in kept.members else Masked("there")


def test_files_that_nobody_has_heard_of_are_priced_to_the_byte(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sizes: Sizes
) -> None:
    """Eight members have four masks; of the five who stay, the last one has a mask to itself."""
    monkeypatch.setitem(REGISTRY, "paired", Paired)
    rehearsal, label = alone("paired")
    assert needs.own_bytes(rehearsal, label, EIGHT) == 4 * 13 + 2 * ONE
    assert needs.own_bytes(rehearsal, label, EIGHT, EIGHT[:5]) == 3 * 13 + 2 * ONE
    assert needs.server_memory(rehearsal, label) == 5000 + 800 + (16 + 4 * 2) * 100 + 8 * 13  # both vectors are served
    scenario = tiny(strategies=["paired"], stream={"requests": 3, "release": {"every": 3}})
    told = summary_of(run_scenario(scenario, tmp_path / "run"))["strategies"]["paired"]
    assert told["bitwise_equal"] is True
    real = Rehearsal(scenario, sizes, 7)
    left = left_of(scenario, sizes)
    assert len(left) == 5
    assert needs.storage(real, "paired", sizes.clients) == told["storage_before"]
    assert needs.storage(real, "paired", sizes.clients, left) == told["storage_bytes"]
    assert told["storage_before"] - told["storage_bytes"] == (sizes.tunable + 7) // 8


SOME = st.sets(st.sampled_from([*EIGHT, *FIVE])).map(lambda members: tuple(sorted(members)))
FORMULAS: list[Any] = [
    {"sisa": {"shards": 2, "slices": 3, "steps": 5, "batch": 4}},
    {"sisa": {"shards": 1, "slices": 1, "steps": 5, "batch": 4}},
    {"apa": {"clusters": 3, "steps": 5, "batch": 4}},
    {"apa": {"clusters": 3, "steps": 5, "batch": 4, "by": "anchor"}},
    {"s3t": {"shards": 1, "slices": 2, "orders": 1, "steps": 5, "batch": 4}},
    {"s3t": {"shards": 2, "slices": 3, "orders": 2, "steps": 5, "batch": 4}},
    {"s3t": {"shards": 1, "slices": 4, "orders": 4, "steps": 5, "batch": 4}},
]


@pytest.mark.parametrize("entry", FORMULAS)
@given(before=SOME, after=SOME)
def test_a_formula_is_what_a_dry_run_counts(entry: Any, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    rehearsal, label = alone(entry)
    told = rehearsal.strategies[label].work(before, after)
    assert told == rehearsal.outcome(label, before, after).work
    assert rehearsal.strategies[label].work((), after) == rehearsal.outcome(label, after).work


def test_a_cohort_that_takes_longer_than_the_timeout_is_told() -> None:
    """Two clients of 0.5 s and 3 steps of 0.25 s each."""
    workers = {"kind": "flower", "cohort": 2}
    told = plan.longer_than_timeout(tiny(workers=workers | {"timeout": 2.4}), SPEEDS)
    assert told is not None
    assert told.startswith("A cohort takes 2.5 s, longer than workers.timeout (2.4 s): ")
    assert plan.longer_than_timeout(tiny(workers=workers | {"timeout": 2.5}), SPEEDS) is None
    assert plan.longer_than_timeout(tiny(workers=workers | {"kind": "ray", "timeout": 2.4}), SPEEDS) is None


def test_of_a_long_stream_some_releases_are_rehearsed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """200 clients, of whom 150 leave one after another."""
    everybody = tuple(f"u{i}" for i in range(200))
    large = replace(SIZES, clients=everybody)
    strategies: list[Any] = [
        {"average": {"alpha": [1.0, 2.0]}},
        {"clamu": {"affinity": "random", "steps": 2}},
        {"central": {"steps": 40, "batch": 8}},
        {"linear_negation": EDIT},
        {"sisa": {"shards": 2, "slices": 2}},
    ]
    data = TINY["data"] | {"clients": 200}
    scenario = tiny(data=data, strategies=strategies, stream={"requests": 150, "release": {"every": 1}}, audit=[])
    releases = work.releases_of(scenario, everybody, 7)
    assert len(releases) == 150
    chosen = work.sampled(releases)
    assert (len(chosen), chosen[0], chosen[-1]) == (work.REHEARSED // 200, 0, 149)
    few = Rehearsal(scenario, large, 7)
    some = {label: work.forgetting(few, label, releases) for label in few.strategies}
    some["run"], _ = work.of_run(few, everybody)
    lines = plan.totals(few, SPEEDS, needs.need_of(rehearsals_of(scenario, large), tmp_path))
    assert "Estimate: 100 of 150 releases were rehearsed; the others lie between them." in lines
    monkeypatch.setattr(work, "REHEARSED", 10**9)
    assert work.sampled(releases) == list(range(150))
    exact = Rehearsal(scenario, large, 7)
    every = {label: work.forgetting(exact, label, releases) for label in exact.strategies}
    every["run"], _ = work.of_run(exact, everybody)
    for label, found in some.items():
        assert vars(found) == pytest.approx(vars(every[label]), rel=0.01), label
    assert some["sisa"] == every["sisa"]  # it has a formula
    assert every["clamu"].mask_steps == 2 * sum(range(50, 200))
    assert not any(
        "Estimate" in line for line in plan.totals(exact, SPEEDS, needs.need_of(rehearsals_of(scenario, large), tmp_path))
    )


def test_a_last_release_of_fewer_does_not_weigh_on_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten leave at each of 15 releases and one at the last; the pool of an ascent is those who leave."""
    everybody = tuple(f"u{i}" for i in range(200))
    stream = {"requests": 151, "release": {"every": 10}}
    scenario = tiny(data=TINY["data"] | {"clients": 200}, strategies=[{"gradient_ascent": EDIT}], stream=stream)
    releases = work.releases_of(scenario, everybody, 7)
    monkeypatch.setattr(work, "REHEARSED", 200)
    assert work.sampled(releases) == [0, 14, 15]
    rehearsal = Rehearsal(scenario, replace(SIZES, clients=everybody), 7)
    assert work.forgetting(rehearsal, "gradient_ascent", releases) == Work(0, 0, 151, 16 * 3, 16 * 3 * 2)


class Stepless(Rule):
    """Vectors that nobody takes a step for."""

    name = "test_plan:Stepless"

    def derive(self, site: Site, shard: Shard) -> Tuned:
        return Tuned(np.zeros(self.bounds(site)[-1], dtype=np.float32), "none", steps=0, tokens=0, loss=0.0)

    def steps(self, spec: TuningSpec) -> int:
        return 0


def test_a_rule_without_steps_costs_none_and_training_on_pools_does_all_the_same(tmp_path: Path, site: Site) -> None:
    """Eight clients are evaluated once: 30 tokens each on 1,000 parameters."""
    stepless = {"average": {"tuning": Stepless.name}}
    scenario = tiny(strategies=[stepless], stream={"requests": 0}, audit=[])
    rehearsal = Rehearsal(scenario, SIZES, 7)
    (row,) = plan.rows_of(rehearsal)
    assert (row.learn, row.steps) == (Work(8), 0)
    speeds = replace(SPEEDS, joining={Stepless.name: 0.5}, step={Stepless.name: 0.0})
    told = plan.totals(rehearsal, speeds, needs.need_of(rehearsals_of(scenario, SIZES), tmp_path))
    assert told[0].endswith(f"8 clients tuned, 0 gradient steps, 4.8e5 FLOPs, {plan.clock(pricing.PROGRAM + 5.0)}.")
    pooled = tiny(strategies=[stepless, "central"])
    here = open_site(pooled.settings(7))
    _, measured = calibrate(pooled, here, sizes_of(here, pooled))
    assert measured.step[Stepless.name] == 0.0
    assert measured.step["plain"] > 0
    assert set(measured.step) == set(measured.joining) == {Stepless.name, "plain"}


def test_deleting_at_the_price_of_retraining_is_warned_of() -> None:
    """Eight clients, two leave at once: six are tuned again (18 steps); two are derived (6) and 2 mask steps of six (12)."""
    stream = {"requests": 2, "release": {"every": 2}}
    two, three = {"clamu": {"steps": 2}}, {"clamu": {"steps": 1, "label": "less"}}
    found = rows(tiny(strategies=["ties", "average", two, three], stream=stream), SIZES)
    said = "deleting costs as much as learning again without the forgotten: 18 of 18 gradient steps"
    assert [row.warning for row in found] == [said, "", said, ""]
    central, sisa = rows(tiny(strategies=["central", "sisa"], stream=stream), SIZES)
    assert (central.warning, sisa.warning) == (said.replace("18", "200"), "")


@given(
    st.dictionaries(
        st.sampled_from(["a", "count", "sum", "10", "value"]),
        st.tuples(st.sampled_from([np.float32, np.int64, np.int32, np.uint8, np.uint16, np.float64]), st.integers(0, 300)),
        min_size=1,
    )
)
def test_safetensors_bytes_are_those_of_the_file(arrays: dict[str, tuple[Any, int]]) -> None:
    real = save({name: np.zeros(n, dtype=kind) for name, (kind, n) in arrays.items()})
    assert safetensors_bytes({name: ((n,), kind) for name, (kind, n) in arrays.items()}) == len(real)


def test_bytes_by_hand() -> None:
    """100 parameters in 4 tensors, 8 members: a mask is 13 bytes; headers of safetensors files are measured on real ones."""
    one = len(save({"value": np.zeros(100, dtype=np.float32)}))
    small = len(save({"value": np.zeros(4, dtype=np.float32)}))
    total = len(save({"sum": np.zeros(100, dtype=np.int64), "count": np.zeros(1, dtype=np.int64)}))
    counts = len(save({"counts": np.zeros(100, dtype=np.int32)}))
    assert total - 800 < 200
    assert storage("local", EIGHT) == 8 * one
    assert storage("average", EIGHT) == total
    assert storage("sift_masks", EIGHT) == total + 8 * (13 + small)
    assert storage({"sift_masks": {"scale": "counts"}}, EIGHT) == total + 8 * (13 + small) + counts
    assert storage("mask_only", EIGHT[:5]) == 5 * (13 + small)
    assert storage("ties", EIGHT) == one
    assert storage("ties", ()) == 0
    assert storage("emr", EIGHT) == one + 8 * 13
    features = len(save({"value": np.zeros(6, dtype=np.float32)}))
    assert storage({"clamu": {"clusters": 3}}, EIGHT) == total + 8 * features + 3 * 13
    assert storage({"clamu": {"clusters": 30}}, EIGHT) == total + 8 * features + 8 * 13


def test_a_displacement_is_kept_once_somebody_has_left() -> None:
    histories = ((EIGHT,), (EIGHT, EIGHT[:7]), (EIGHT, ()))
    assert [storage("linear_negation", *history) for history in histories] == [ONE, 2 * ONE, 0]

    def most(**sections: Any) -> int:
        return needs.most_bytes(Rehearsal(tiny(**sections), SIZES, 7))

    assert most(strategies=["linear_negation", "salun"]) == 3 * ONE
    assert most(strategies=["linear_negation"], stream={"requests": 0}) == ONE
    assert most(strategies=["local"]) == 8 * ONE


def test_central_trainings_are_held_while_strategies_share_them() -> None:
    """At most four, 400 bytes each; beside them 2,000 to save, 3,200 of a worker, and 400 or 800 while λ is chosen."""
    alike = tiny(strategies=["central", "salun", "gradient_ascent"])
    assert run_memory(alike) == 2000 + 3200 + 400
    many = tiny(strategies=[{"central": {"label": f"c{steps}", "steps": steps}} for steps in range(1, 11)])
    assert run_memory(many) == 2000 + 3200 + 4 * 400
    assert run_memory(tiny(strategies=["negmerge"])) == 2000 + 400 + 3200 + 400
    assert run_memory(tiny(strategies=["linear_negation"])) == 2000 + 800 + 3200 + 400


def test_bytes_and_memory_follow_the_grid() -> None:
    """100 parameters of 200 clients: int32 sums, uint8 counters; a worker holds 16 + 2 x 4 bytes."""
    narrow = replace(SIZES, grids=dict.fromkeys(("plain", "sign_fixed"), Grid(23, 2**20, 200)))
    scenario = tiny(strategies=["average", {"sift_masks": {"scale": "counts"}}, "dare", "vote_masks"])
    rehearsal = Rehearsal(scenario, narrow, 7)
    total = len(save({"sum": np.zeros(100, dtype=np.int32), "count": np.zeros(1, dtype=np.int64)}))
    counts = len(save({"counts": np.zeros(100, dtype=np.uint8)}))
    own = 8 * (13 + len(save({"value": np.zeros(4, dtype=np.float32)})))
    assert total - 400 < 200
    assert needs.storage(rehearsal, "average", EIGHT) == total
    assert needs.storage(rehearsal, "sift_masks", EIGHT) == total + own + counts
    layout = rehearsal.layout("plain")
    assert needs.held((Sum(), *masked(0.5), Counts(0.5)), layout, EIGHT) == 400 + 100
    assert needs.held((ClusterSums("vectors"), ClusterSums("votes")), layout, EIGHT) == 400 + 100
    assert needs.working(layout) == 2400
    assert needs.working(SIZES.layout("plain", 7)) == 3200


def test_memory_by_hand() -> None:
    """d = 100, a process of 5,000 bytes."""
    layout = SIZES.layout("plain", 7)
    assert needs.held((Sum(), *masked(0.5), Counts(0.5)), layout, EIGHT) == 800 + 400
    assert needs.held((ClusterSums("vectors"),), layout, EIGHT) == 800
    assert needs.server_memory(*alone("average")) == 5000 + 800 + 2000
    assert needs.server_memory(*alone("local")) == 5000 + 2000 + 8 * 400
    assert needs.server_memory(*alone("emr")) == 5000 + 2000 + 8 * 13
    assert needs.server_memory(*alone({"cluster_average": {"clusters": 1}})) == 5000 + 800 + 2400

    def worker(cohort: int, *strategies: Any) -> int:
        scenario = tiny(strategies=list(strategies), workers={"kind": "inline", "cohort": cohort})
        return needs.worker_memory(Rehearsal(scenario, SIZES, 7))

    two = ({"sift_masks": {"keep": 0.5}}, {"sift_masks": {"label": "whole", "keep": 1.0}})
    assert worker(3, *two) == worker(3, *two, "average") == 5000 + 3200 + 3 * 26
    assert worker(2, "local") == worker(2, "local", *two) == 5000 + 3200 + 2 * 400
    inline = tiny(strategies=["average"])
    assert run_memory(inline) == 800 + 2000 + 3200
    assert run_memory(inline, measured=9000) == 800 + 2000 + 4000
    pool = tiny(strategies=["average"], workers={"kind": "ray", "count": 3, "cohort": 2})
    assert run_memory(pool) == 800 + 2000 + 3 * (5000 + 3200)
    cluster = tiny(strategies=["average"], workers={"kind": "ray", "address": "auto"})
    assert run_memory(cluster) == 800 + 2000


def test_seconds_and_operations_by_hand() -> None:
    """A step has 4 examples of 5 tokens: those of pooled steps are 2 more."""
    done = Work(tunings=4, mask_steps=10, pooled_steps=3, pooled_examples=8, evaluations=6)
    tuning = TuningSpec(steps=20)
    assert pricing.seconds(done, {"plain": 4}, tuning, SPEEDS) == 4 * (0.5 + 20 * 0.25) + (10 + 2) * 0.25 + 6 * 0.125
    assert pricing.flops(done, 20, 1000, SPEEDS) == 6 * 1000 * (90 + 2) * 20 + 2 * 1000 * 6 * 30
    assert pricing.seconds(Work(), {None: 0}, tuning, SPEEDS) == 0


def test_a_head_is_charged_for_every_setting_and_timed_by_its_passes() -> None:
    assert pricing.seconds(Work(evaluations=6, spared=4), {}, TuningSpec(), SPEEDS) == 2 * 0.125
    assert pricing.scored(Work(evaluations=6, spared=4, probes=2), SPEEDS) == 2 + 2


def test_pairs_of_clients_are_worked_out_when_all_join_and_in_an_audit() -> None:
    """8 join and 4 stay: 8 · 9 / 2 and 4 · 5 / 2."""
    near = [{"clamu": {"affinity": "task_vectors"}}, "sift_masks"]
    assert work.pairs_of_run(Rehearsal(tiny(strategies=near), SIZES, 7), EIGHT) == {"plain": 36 + 10}
    assert work.pairs_of_run(Rehearsal(tiny(strategies=near, audit=[]), SIZES, 7), EIGHT) == {"plain": 36}
    assert work.pairs_of_run(Rehearsal(tiny(strategies=["average"]), SIZES, 7), EIGHT) == {}
    speeds = replace(SPEEDS, pair={"plain": 0.5})
    assert pricing.served({"plain": 46}, speeds) == 23
    assert pricing.served({"plain": 46}, SPEEDS) == 0


def test_workers_and_the_server_share_the_cores_of_this_machine() -> None:
    def elapsed(cores: int, **spec: Any) -> float:
        return pricing.elapsed(100.0, 20.0, WorkersSpec.model_validate(spec), cores)

    assert elapsed(8, kind="inline") == 120
    waiting = 1.08
    assert elapsed(2, kind="ray", count=2) == waiting * 60  # (100 + 20) / 2
    assert elapsed(8, kind="ray", count=2) == waiting * 50  # the server has a core of its own
    assert elapsed(8, kind="ray", count=10) == waiting * 20  # no worker shortens what the server does
    assert elapsed(2, kind="ray", count=4, gpus=1) == waiting * 25
    assert elapsed(2, kind="ray", count=4, address="auto") == waiting * 25


def test_each_kind_of_workers_starts_by_itself() -> None:
    flower, ray = pricing.STARTING["flower"], pricing.STARTING["ray"]
    assert pricing.starting(WorkersSpec.model_validate({"kind": "inline"})) == 0
    assert pricing.starting(WorkersSpec.model_validate({"kind": "ray"})) == ray
    assert pricing.starting(WorkersSpec(learn="flower", stream="ray")) == flower + ray


def test_what_is_measured_is_the_mean_of_three() -> None:
    found = iter([0.5, 0.25, 2.25, 9.0])
    assert pace._mean(lambda: next(found)) == 1.0
    assert next(found) == 9.0
    long = iter([3.0, 4.0, 9.0])
    assert pace._mean(lambda: next(long)) == 3.5  # enough has been spent


def test_speeds_are_measured_for_a_tenth_of_the_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """At first it takes six seconds, which is enough for 60; then four: twice for 140; more than 60 s are never spent.

    Of ten scenarios each has six of these.
    """
    now, first = 0.0, SPEEDS
    slower = replace(first, joining={"plain": 1.5}, step={"plain": 0.5}, score=0.5)

    def calibrated(scenario: Scenario, site: Site, sizes: Sizes) -> tuple[Sizes, Speeds]:
        nonlocal now
        now = 6.0
        return sizes, first

    def paced(site: Site, shards: Any, wanted: Any, speeds: Speeds) -> Speeds:
        nonlocal now
        now += 4
        assert speeds == first
        return slower

    def measured(of_run: float, scenarios: int = 1) -> tuple[Speeds, float]:
        nonlocal now
        now = 0.0
        told = pace.measured(tiny(), site, SIZES, lambda sizes, speeds: of_run if speeds == first else 0.0, scenarios)
        return told[1], now

    monkeypatch.setattr(pace, "calibrate", calibrated)
    monkeypatch.setattr(pace, "paced", paced)
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    assert measured(60.0) == (first, 6)
    mean = replace(first, joining={"plain": (0.5 + 1.5 + 1.5) / 3}, step={"plain": 1.25 / 3}, score=0.375)
    assert measured(140.0) == (mean, 14)
    assert measured(1e6)[1] == 62
    assert [measured(1e6, scenarios)[1] for scenarios in (2, 6, 10)] == [30, 10, 6]


def test_measuring_again_tells_the_speed_of_now(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine half as fast: tunings and scorings take twice as long. What else was found stays."""
    scenario = tiny(strategies=["average", "sift_masks"])
    here, slow = open_site(scenario.settings(7)), 1.0

    def done(site: Site, job: Job) -> Reply:
        spent = len(job.clients) * (site.settings.tuning.steps + 0.5) if job.kind == "tune" else 0.25 * len(job.clients)
        return replace(
            perform(site, job, {}), facts={"seconds": slow * spent, "tunings": {client: {} for client in job.clients}}
        )

    monkeypatch.setattr(pace, "_done", done)
    _, first = calibrate(scenario, here, sizes_of(here, scenario))
    slow = 2.0
    twice = {"joining": {"plain": 1.0, "sign_fixed": 1.0}, "step": {"plain": 2.0, "sign_fixed": 2.0}, "score": 0.5}
    shards = sorted(here.shards(), key=lambda shard: shard.client)
    told = asdict(pace.paced(here, shards, {"plain": [], "sign_fixed": []}, first))
    assert {key: told[key] for key in twice} == {key: pytest.approx(value) for key, value in twice.items()}
    assert told == asdict(first) | {key: told[key] for key in twice}
    assert asdict(first)["step"] == pytest.approx({"plain": 1.0, "sign_fixed": 1.0})


@pytest.mark.parametrize("cohort", [1, 3, 4, 100])
def test_the_time_of_a_pair_is_told_from_that_of_a_client(site: Site, monkeypatch: pytest.MonkeyPatch, cohort: int) -> None:
    """Each who joins takes 2 seconds, and half a second for each who is there, itself included."""
    now, together = 0.0, set[int]()

    def absorb(kept: Kept, reply: Reply) -> None:
        nonlocal now
        together.add(len(reply.clients))
        for client in reply.clients:
            kept.members[client] = {}
            now += 2 + 0.5 * len(kept.members)

    monkeypatch.setattr(Kept, "absorb", absorb)
    monkeypatch.setattr("sim.plan.pairs.time.process_time", lambda: now)
    rehearsal, label = alone({"clamu": {"affinity": "task_vectors"}})
    (gram,) = (part for part in rehearsal.strategies[label].parts if part.joins_late)
    reply = perform(site, tune_job(["u1"], "plain", [Wanted(what="vector")]), {})
    assert pair_seconds(site, "plain", [gram], reply, cohort) == pytest.approx(0.5)
    assert together == {min(cohort, 32)}
    assert pair_seconds(site, "plain", [], reply, cohort) == 0


@pytest.mark.parametrize(
    ("spent", "told"),
    [
        (0, "0"),
        (0.44, "0.4 s"),
        (25.4, "25 s"),
        (89, "89 s"),
        (90, "1.5 min"),
        (5399, "90 min"),
        (7200, "2.0 h"),
        (864000, "10 d"),
    ],
)
def test_times_as_they_are_told(spent: float, told: str) -> None:
    assert plan.clock(spent) == told


# -- against real runs ------------------------------------------------------------------------------------------------


def test_every_strategys_steps_tunings_and_evaluations_are_those_of_a_run(
    everything: tuple[Scenario, Path, dict[str, int]], sizes: Sizes
) -> None:
    scenario, run, _ = everything
    told = summary_of(run)["strategies"]
    priced = rows(scenario, sizes)
    assert [row.label for row in priced] == list(told)
    assert len(priced) == 36
    for row in priced:
        found = told[row.label]
        works = {"learn": row.learn, "forget": row.forget, "join": Work()}
        assert {k: w.gradient_steps(row.steps) for k, w in works.items()} == found["gradient_steps"], row.label
        assert {k: w.evaluations for k, w in works.items()} == found["evaluations"], row.label
        tuned = {key: w.tunings + w.pooled for key, w in works.items()}
        assert sum(tuned.values()) == found["client_tunings"], row.label
        assert tuned["forget"] == found["client_tunings_forget"], row.label


def test_every_strategys_bytes_are_those_of_the_files(
    everything: tuple[Scenario, Path, dict[str, int]], sizes: Sizes
) -> None:
    scenario, run, _ = everything
    told, everybody, left = summary_of(run)["strategies"], sizes.clients, left_of(scenario, sizes)
    assert len(left) == 4
    rehearsal = Rehearsal(scenario, sizes, 7)
    for label in rehearsal.strategies:
        predicted = needs.storage(rehearsal, label, everybody), needs.storage(rehearsal, label, everybody, left)
        assert predicted == (told[label]["storage_before"], told[label]["storage_bytes"]), label


def test_the_state_of_a_run_takes_the_bytes_that_were_told(
    everything: tuple[Scenario, Path, dict[str, int]], sizes: Sizes
) -> None:
    """At the end; JSON files, which hold a few hundred bytes a client, and scores are not counted."""
    scenario, run, _ = everything
    files = [path for path in (run / "state" / "7").rglob("*") if path.suffix in (".safetensors", ".bits")]
    rehearsal = Rehearsal(scenario, sizes, 7)
    predicted = needs.state_bytes(rehearsal, rehearsal.strategies, sizes.clients, left_of(scenario, sizes))
    assert predicted == pytest.approx(sum(path.stat().st_size for path in files), rel=0.01)


def test_the_work_of_a_whole_run_is_what_its_workers_did(
    everything: tuple[Scenario, Path, dict[str, int]], sizes: Sizes
) -> None:
    scenario, _, counted = everything
    done, rules = work.of_run(Rehearsal(scenario, sizes, 7), sizes.clients)
    assert rules == {"plain": 8 + 4 + 4, "sign_fixed": 8 + 4 + 4}  # learning, deriving, audit
    assert (done.tunings + done.pooled, done.evaluations) == (counted["client_tunings"], counted["evaluations"])
    assert done.gradient_steps(scenario.tuning.steps) == counted["gradient_steps"]


@pytest.mark.parametrize(("requests", "every"), [(3, 1), (5, 3), (8, 3), (0, 1)])
def test_releases_of_any_size_cost_what_a_run_pays(tmp_path: Path, sizes: Sizes, requests: int, every: int) -> None:
    strategies = ["zero_shot", "local", "average", "ties", {"clamu": {"clusters": 3, "steps": 2}}, *POOLED[:2]]
    stream = {"requests": requests, "release": {"every": every}}
    scenario = tiny(strategies=strategies, stream=stream, audit=[])
    run, counted = counted_run(scenario, tmp_path / "run")
    told = summary_of(run)["strategies"]
    assert len(work.releases_of(scenario, sizes.clients, 7)) == math.ceil(requests / every)
    assert [r.leaving for r in work.releases_of(scenario, sizes.clients, 7)] == [
        tuple(record["clients"]) for record in records_of(run, "release")
    ]
    for row in rows(scenario, sizes):
        assert row.forget.gradient_steps(row.steps) == told[row.label]["gradient_steps"]["forget"], row.label
    done, _ = work.of_run(Rehearsal(scenario, sizes, 7), sizes.clients)
    assert done.gradient_steps(scenario.tuning.steps) == counted["gradient_steps"]


def test_calibration_measures_clients_of_all_sizes(site: Site) -> None:
    scenario = tiny(strategies=["average", "sift_masks", {"clamu": {"affinity": "features"}}])
    before = sizes_of(site, scenario)
    here = open_site(scenario.settings(7))
    found, speeds = calibrate(scenario, here, before)
    assert set(speeds.step) == set(speeds.joining) == {"plain", "sign_fixed"}
    assert min([*speeds.step.values(), speeds.score]) > 0
    assert min(speeds.joining.values()) >= 0
    assert speeds.peak >= before.process > 10**7
    assert (found.clients, found.tunable, found.parameters) == (EIGHT, here.model.layout.size, here.model.parameters)
    reply = perform(here, tune_job(["u1"], "plain", [Wanted(what="features")]), {})
    assert found.features == reply.arrays["features/u1"].size
    told = perform(here, tune_job(EIGHT, "plain", []), {}).facts["tunings"].values()
    tokens = sum(one["tokens"] for one in told) / sum(one["steps"] for one in told)
    assert (speeds.step_examples, speeds.example_tokens * 3) == (3, pytest.approx(tokens))
    side = here.manifest.sides.reported
    scored = [encoded.tokens for shard in here.shards() for encoded in here.model.encode(shard.side(side))]
    assert speeds.score_tokens == pytest.approx(sum(scored) / 8)


def test_a_step_is_of_a_batch_or_of_all_examples() -> None:
    shard = of_texts("u1", 1, 1, 1)
    assert [batch_size(shard, TuningSpec(batch=batch)) for batch in (2, 20, "full")] == [2, 3, 3]


def test_clients_of_all_sizes_are_measured() -> None:
    """Of ten, eight: those at 1/16, 3/16, ... of the way; of which fewer, those in the middle of as many equal parts."""
    shards = [of_texts(f"u{i}", 1) for i in range(10)]

    def found(count: int) -> list[int]:
        return [shards.index(shard) for shard in some_of(shards, count)]

    assert CLIENTS == 8
    assert found(100) == found(8) == [0, 1, 3, 4, 5, 6, 8, 9]
    assert found(2) == [2, 7]
    assert found(1) == found(0) == [5]
    assert some_of(shards[:3], 8) == shards[:3]


@pytest.mark.parametrize(
    ("slow", "step", "beside", "measured"),
    [
        (0.001, 25.5, 0.5, tuple(f"u{size}" for size in range(1, 9))),  # 1 + 4 + ... + 64 = 204, by eight
        (0.01, 26 * 27 / 28, 0.5 * 27 / 28, ("u2", "u5", "u7")),  # 4 + 25 + 49, by three, who have 14 / 3 examples for 4.5
        (0.02, 25 * 0.9, 0.5 * 0.9, ("u5",)),
        (1.0, 25.5 * 0.9, 0.0, ("u5",)),  # measured once
    ],
)
def test_a_tuning_takes_what_clients_of_all_sizes_take_on_average(
    site: Site, monkeypatch: pytest.MonkeyPatch, slow: float, step: float, beside: float, measured: tuple[str, ...]
) -> None:
    """A step takes a client the square of its examples, a tuning half of one more. Where that is long, few are measured."""
    shards = [of_texts(f"u{size}", *[1] * size) for size in range(1, 9)]
    asked: list[tuple[str, ...]] = []

    def done(site: Site, job: Job) -> Reply:
        asked.append(job.clients)
        spent = sum(site.settings.tuning.steps * int(client[1:]) ** 2 + 0.5 for client in job.clients)
        return Reply(job.clients, {"seconds": slow * spent})

    monkeypatch.setattr(pace, "_done", done)
    found = pace._tuning_seconds(site, shards, 4.5, "plain", [])
    assert found == (pytest.approx(slow * step), pytest.approx(slow * beside))
    assert asked[-1] == measured
    assert (len(asked) == 1) == (slow == 1.0)


def test_a_scoring_takes_what_clients_take_on_average(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second each and a tenth for an example, all by a hundred; who has no example there takes nothing."""
    (example, *_), side = next(iter(site.shards())).train, site.manifest.sides.reported
    shards = [Shard(f"u{size}", **{"train": ()} | {side: (example,) * size}) for size in range(9)]

    def done(site: Site, job: Job) -> Reply:
        return Reply(job.clients, {"seconds": sum(0.01 * (0.5 + 0.1 * int(client[1:])) for client in job.clients)})

    monkeypatch.setattr(pace, "_done", done)
    seconds, tokens = pace._scoring(site, shards, "reported", 4.0)  # 36 examples of nine clients
    assert seconds == pytest.approx((8 * 0.5 + 3.6) * 0.01 / 9)
    assert tokens == pytest.approx(4.0 * site.model.encode([example])[0].tokens)


def of_texts(client: str, *lengths: int, held: tuple[int, ...] = ()) -> Shard:
    made = [tuple(Example("x" * (length - 1), "") for length in each) for each in (lengths, held)]
    return Shard(client, *made)


def test_the_largest_client_is_the_one_with_the_largest_passes() -> None:
    """Sizes are examples of a pass times the longest: of a step, and of a scoring of at most 64 or a micro-batch."""
    many, long, held = of_texts("many", *[10] * 9), of_texts("long", 40, 2), of_texts("held", 5, held=(1,) * 70 + (50,))

    def found(*shards: Shard, **tuning: Any) -> list[str]:
        return [shard.client for shard in largest(shards, TuningSpec(**tuning))]

    assert found(many, long) == ["many"]  # 90 and 80, in both
    assert found(many, long, batch=2) == ["long", "many"]  # a step: 20 and 80
    assert found(many, long, micro_batch=2) == ["long"]
    assert found(many, long, held) == ["many", "held"]  # scored: 90, 80, 64 · 50
    assert found(of_texts("b", 3), of_texts("a", 3)) == ["a"]
    assert found(Shard("a", (Example("", "cat", b"1"),)), Shard("b", (Example("", "cat", b"2"),) * 2)) == ["b"]


def test_memory_is_measured_on_the_largest_client(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    scenario = tiny(strategies=["average"])
    here = open_site(scenario.settings(7))
    asked: list[tuple[str, tuple[str, ...]]] = []

    def noted(site: Site, job: Job, shared: Any) -> Reply:
        asked.append((job.kind, job.clients))
        return perform(site, job, shared)

    monkeypatch.setattr("sim.plan.speeds.perform", noted)
    calibrate(scenario, here, sizes_of(here, scenario))
    (client,) = (shard.client for shard in largest(list(here.shards()), scenario.tuning))
    for kind in ("tune", "score"):
        assert (kind, (client,)) in asked
    lengths = {s.client: max(len(e.prompt + e.answer) for e in s.train) for s in here.shards()}
    assert lengths[client] == max(lengths.values())


# -- room, and what is shown ------------------------------------------------------------------------------------------


def shown(table: Any, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_run_that_does_not_fit_is_refused_with_both_numbers() -> None:
    fits = Need({"runs/a": (10, 10)}, (10, 10), ("local", 5), ("emr", 6))
    needs.refuse(fits)
    with pytest.raises(InputError) as disk:
        needs.refuse(Need({"/tmp": (1, 2), "runs/a": (3_500_000, 10_000)}, (1, 2), ("local", 3_200_000), ("emr", 6)))
    assert str(disk.value) == (
        "runs/a: the run needs 3.5 MB of disk and 10 kB are free; the largest strategy is local with 3.2 MB"
    )
    with pytest.raises(InputError) as memory:
        needs.refuse(Need({"runs/a": (1, 2)}, (64 * 10**9, 8 * 10**9), ("local", 1), ("clamu", 3 * 10**9)))
    assert str(memory.value) == (
        "workers: the run needs 64 GB of memory and 8 GB are free; the largest strategy is clamu, whose server needs 3 GB; "
        "fewer workers need less"
    )


def test_what_the_machine_tells(tmp_path: Path) -> None:
    before = machine.held()
    size = 50_000_000
    with mmap.mmap(-1, size) as block:  # a mapping of its own: an array may lie where something was freed
        for start in range(0, size, 4096):
            block[start] = 1
        assert machine.held() > before + 0.8 * size
    assert machine.peak() > 0.8 * size
    assert 0 < machine.memory_free() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    number, free = machine.disk_free(tmp_path / "not" / "there" / "yet")
    assert number == tmp_path.stat().st_dev
    assert 0 < free <= shutil.disk_usage(tmp_path).total


def test_needs_of_all_seeds_of_a_commit_and_of_the_audit_add_up(tmp_path: Path) -> None:
    one = len(save({"value": np.zeros(100, dtype=np.float32)}))
    scenario = tiny(strategies=["average", "local"], seeds=[1, 2])
    total = storage("average", EIGHT)
    need = needs.need_of(rehearsals_of(scenario, SIZES), tmp_path / "runs" / "a")
    ((folder, (needed, free)),) = need.disk.items()
    assert folder == str(tmp_path / "runs" / "a")
    assert needed == 2 * (total + 8 * one) + total + total + 4 * one  # a sum beside the old; four are left for the audit
    assert free > 0
    assert need.most_disk == ("local", 8 * one)
    assert need.memory[0] == 800 + 2000 + 8 * 400 + 3200 + 3 * 400
    quiet = needs.need_of(rehearsals_of(tiny(strategies=["ties"], audit=[]), SIZES), tmp_path)
    assert quiet.most_disk == ("ties", 9 * one)  # its cache of vectors lies on the disk too


def test_the_command_refuses_what_does_not_fit(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A million workers need more memory than there is; nothing is started or written."""
    monkeypatch.chdir(tmp_path)
    for command in ("plan", "run"):
        many = ["--set", "workers.kind=ray", "--set", "workers.count=1000000"]
        monkeypatch.setattr(sys, "argv", ["unmerge", command, str(tiny_file), *many])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 1
        told = capsys.readouterr()
        assert told.err.startswith("Error: workers: the run needs ")
        assert told.err.count("\n") == 1
        assert ("clamu_signs" in told.out) == (command == "plan")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("width", [80, 100, 130])
def test_the_table_fits_and_cuts_nothing_off(width: int) -> None:
    scenario = tiny(strategies=EVERYTHING)
    big = Sizes(EIGHT, 10**10, 10**9, 300, 1000, 10**9)
    priced = rows(scenario, big)
    slow = {"plain": 100.0, "sign_fixed": 100.0}
    speeds = Speeds(slow, dict.fromkeys(slow, 1000.0), 50.0, 5.0, 20000.0, 9000.0, 10**9)
    text = shown(plan.table(scenario, big, speeds, priced, width), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    assert ("FLOPs" in text, "memory" in text) == (width >= 100, width == 130)
    if width >= 100:
        (ties,) = (line.split() for line in lines if line.startswith(" ties"))
        assert " ".join(ties[:12]) == "ties yes rebuild 8 / 2.5 / 10 24 / 30 3.2e17"
        assert ties[12:14] == ["4", "GB"]


def test_the_work_of_a_run_where_not_all_join(tmp_path: Path) -> None:
    stream = {"join": 5, "unseen": 2, "requests": 1, "release": {"every": 1}}
    scenario = tiny(strategies=["average", {"clamu": {"clusters": 2, "steps": 2}}], stream=stream)
    _, counted = counted_run(scenario, tmp_path / "run")
    some = sizes_of(open_site(scenario.settings(7)), scenario)
    done, _ = work.of_run(Rehearsal(scenario, some, 7), some.clients)
    assert len(some.clients) == 5
    assert (done.tunings, done.evaluations) == (counted["client_tunings"], counted["evaluations"])
    assert done.evaluations == 2 * (7 + 7)
