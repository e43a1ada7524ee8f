"""The price of a scenario before it runs: by hand, and against real runs of the tiny scenario with every exact strategy."""

import io
import math
import mmap
import os
import shutil
import sys
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

from clients.errors import InputError
from clients.jobs import Site, Wants, open_site, perform, tune_job
from clients.settings import TuningSpec
from sim import cli
from sim.life.system import strategies_of
from sim.plan import machine, plan
from sim.plan import needs as room
from sim.plan import work as price
from sim.plan.needs import Need, Sizes, sizes_of
from sim.plan.speeds import Speeds, batch_size, calibrate, nearest
from sim.plan.work import Release, Work
from sim.scenario.model import Scenario
from strategies.erase.zero_shot import ZeroShot
from strategies.registry import REGISTRY
from strategies.state.cluster_sums import Additive
from strategies.state.clusters import number
from strategies.state.kept import Keeps
from strategies.strategy import Parameters

EVERYTHING: list[Any] = [
    *TINY["strategies"],
    *(entry for entry in MERGING[1:] if "anchor" not in str(entry)),  # who lies where is not known beforehand
    *({name: p | {"label": f"pooled_{p.get('label', name)}"}} for entry in POOLED for name, p in entry.items()),
]
EIGHT = tuple(f"u{i}" for i in range(8))
SIZES = Sizes(EIGHT, parameters=1000, tunable=100, tensors=4, features=6, process=5000)
SPEEDS = Speeds({"plain": 0.5}, {"plain": 0.25}, 0.125, 4.0, 5.0, 30.0, 9000)


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
    scenario = tiny(strategies=["clamu"], tuning={"steps": 1})
    return calibrate(scenario, open_site(scenario.settings(7)), sizes_of(open_site(scenario.settings(7)), scenario.stream))[
        0
    ]


# -- by hand ----------------------------------------------------------------------------------------------------------


def strategy_of(entry: Any) -> Any:
    (found,) = strategies_of(tiny(strategies=[entry]), 7).values()
    return found


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
    strategy = strategy_of(entry)
    assert price.learning(strategy, ("a", "b", "c", "d", "e")) == learn
    assert price.forgetting(strategy, RELEASES) == forget


def test_sisa_trains_a_shard_again_from_the_first_slice_that_has_changed() -> None:
    """One shard, two slices: stage 0 has those of slice 0, stage 1 everybody. Whoever leaves slice 1 costs one stage."""
    strategy = strategy_of({"sisa": {"shards": 1, "slices": 2, "steps": 10, "batch": 4}})
    (shard,) = strategy.slices_of(EIGHT)
    zero, one = map(len, shard)
    assert min(zero, one) >= 2
    assert zero + one == 8
    assert price.learning(strategy, EIGHT) == Work(0, 0, zero + 8, 20, 80)
    early, late = (Release((part[0],), tuple(c for c in EIGHT if c != part[0])) for part in shard)
    assert price.forgetting(strategy, [early]) == Work(0, 0, zero - 1 + 7, 20, 80)
    assert price.forgetting(strategy, [late]) == Work(0, 0, 7, 10, 40)
    assert room.own_bytes(strategy, SIZES, EIGHT) == 2 * room.vector_bytes(100)
    assert room.own_bytes(strategy, SIZES, tuple(shard[1])) == room.vector_bytes(100)


def test_apa_trains_the_leavers_cluster_and_has_everybody_score_it() -> None:
    strategy = strategy_of({"apa": {"clusters": 2, "steps": 10, "batch": 4}})
    one, other = ([c for c in EIGHT if number(c, 2, 7) == k] for k in (0, 1))
    assert min(len(one), len(other)) >= 2
    assert price.learning(strategy, EIGHT) == Work(0, 0, 8, 20, 80, 16)
    stay = tuple(c for c in EIGHT if c != one[0])
    assert price.forgetting(strategy, [Release((one[0],), stay)]) == Work(0, 0, len(one) - 1, 10, 40, 7)
    assert price.forgetting(strategy, [Release(tuple(one), tuple(other))]) == Work()
    assert price.localizing(strategy, stay, EIGHT) == Work(0, 0, len(one), 10, 40, 7 + 2)  # who joins scores both
    assert room.own_bytes(strategy, SIZES, EIGHT) == 2 * room.vector_bytes(100)
    assert room.own_bytes(strategy, SIZES, tuple(other)) == room.vector_bytes(100)
    assert room.server_memory(strategy, SIZES) == 5000 + 2000 + 2 * 400


def test_a_scale_is_chosen_by_fifty_members_at_most_and_by_nobody_if_there_is_none() -> None:
    strategy = strategy_of({"average": {"alpha": [1.0, 2.0]}})
    assert price.choosing(strategy, 500).evaluations == 2 * 50
    assert price.choosing(strategy, 0) == Work()


def test_gradient_steps_are_those_of_tunings_masks_and_pools() -> None:
    assert Work(5, 7, 9, 11, 13, 15).gradient_steps(TuningSpec(steps=20)) == 100 + 7 + 11
    assert price.from_scratch(strategy_of("average"), RELEASES) == Work(5)
    assert price.from_scratch(strategy_of({"central": {"steps": 40, "batch": 8}}), RELEASES) == Work(0, 0, 5, 80, 640)


def test_no_price_is_told_of_an_unknown_rule_and_what_is_approximate_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(ZeroShot):
        exactness = "approximate"
        deletion = "by magic"  # type: ignore[assignment]

    monkeypatch.setitem(REGISTRY, "other", (Other, Parameters))
    scenario = tiny(strategies=["average", "other"])
    average, other = plan.rows_of(scenario, SIZES)
    assert (other.learn, other.forget) == (None, None)
    assert price.of_run(scenario, EIGHT, 7) is None
    assert (average.warning, other.warning) == ("", "cannot delete exactly: something of the forgotten is left")
    lines = shown(plan.table(scenario, SIZES, SPEEDS, [other], 130), 130).splitlines()
    assert lines[-2].split()[:7] == ["other", "NO", "by", "magic", "?", "?", "?"]


def test_deleting_at_the_price_of_retraining_is_warned_of() -> None:
    """Eight clients, two leave at once: six are tuned again (18 steps); two are derived (6) and 2 mask steps of six (12)."""
    stream = {"requests": 2, "release": {"every": 2}}
    two, three = {"clamu": {"steps": 2}}, {"clamu": {"steps": 1, "label": "less"}}
    rows = plan.rows_of(tiny(strategies=["ties", "average", two, three], stream=stream), SIZES)
    said = "deleting costs as much as learning again without the forgotten: 18 of 18 gradient steps"
    assert [row.warning for row in rows] == [said, "", said, ""]
    central, sisa = plan.rows_of(tiny(strategies=["central", "sisa"], stream=stream), SIZES)
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
    assert room.safetensors_bytes({name: (kind, (n,)) for name, (kind, n) in arrays.items()}) == len(real)


def test_bytes_by_hand() -> None:
    """100 parameters in 4 tensors, 8 members: a mask is 13 bytes; headers of safetensors files are measured on real ones."""
    one = len(save({"value": np.zeros(100, dtype=np.float32)}))
    small = len(save({"value": np.zeros(4, dtype=np.float32)}))
    total = len(save({"sum": np.zeros(100, dtype=np.int64), "count": np.zeros(1, dtype=np.int64)}))
    counts = len(save({"counts": np.zeros(100, dtype=np.int32)}))
    assert total - 800 < 200
    assert room.storage(strategy_of("local"), SIZES, EIGHT) == 8 * one
    assert room.storage(strategy_of("average"), SIZES, EIGHT) == total
    assert room.storage(strategy_of("sift_masks"), SIZES, EIGHT) == total + 8 * (13 + small)
    assert room.storage(strategy_of({"sift_masks": {"scale": "counts"}}), SIZES, EIGHT) == total + 8 * (13 + small) + counts
    assert room.storage(strategy_of("mask_only"), SIZES, EIGHT[:5]) == 5 * (13 + small)
    assert room.storage(strategy_of("ties"), SIZES, EIGHT) == one
    assert room.storage(strategy_of("ties"), SIZES, ()) == 0
    assert room.storage(strategy_of("emr"), SIZES, EIGHT) == one + 8 * 13
    features = len(save({"value": np.zeros(6, dtype=np.float32)}))
    assert room.storage(strategy_of({"clamu": {"clusters": 3}}), SIZES, EIGHT) == total + 8 * features + 3 * 13
    assert room.storage(strategy_of({"clamu": {"clusters": 30}}), SIZES, EIGHT) == total + 8 * features + 8 * 13


def test_a_displacement_is_kept_once_somebody_has_left() -> None:
    one, linear = room.vector_bytes(100), strategy_of("linear_negation")
    assert [room.storage(linear, SIZES, EIGHT[:n]) for n in (8, 7, 0)] == [one, 2 * one, 0]
    assert room.most_bytes(tiny(strategies=["linear_negation", "salun"]), SIZES, 7) == 3 * one
    assert room.most_bytes(tiny(strategies=["linear_negation"], stream={"requests": 0}), SIZES, 7) == one
    assert room.most_bytes(tiny(strategies=["local"]), SIZES, 7) == 8 * one


def test_central_trainings_are_held_while_strategies_share_them() -> None:
    """At most four, 400 bytes each; beside them 2,000 to save, 3,200 of a worker, and 400 or 800 while λ is chosen."""
    alike = tiny(strategies=["central", "salun", "gradient_ascent"])
    assert room.run_memory(alike, SIZES, 7) == 2000 + 3200 + 400
    many = tiny(strategies=[{"central": {"label": f"c{steps}", "steps": steps}} for steps in range(1, 11)])
    assert room.run_memory(many, SIZES, 7) == 2000 + 3200 + 4 * 400
    assert room.run_memory(tiny(strategies=["negmerge"]), SIZES, 7) == 2000 + 400 + 3200 + 400
    assert room.run_memory(tiny(strategies=["linear_negation"]), SIZES, 7) == 2000 + 800 + 3200 + 400


def test_memory_by_hand() -> None:
    """d = 100, a process of 5,000 bytes."""
    cluster_average = strategy_of({"cluster_average": {"clusters": 1}})
    assert room.held(Keeps(sum=True, counts=(0.5,)), SIZES, EIGHT, 7) == 800 + 400
    assert room.held(Keeps(additive=(Additive(of="vectors"),)), SIZES, EIGHT, 7) == 800
    assert room.server_memory(strategy_of("average"), SIZES) == 5000 + 800 + 2000
    assert room.server_memory(strategy_of("local"), SIZES) == 5000 + 2000 + 8 * 400
    assert room.server_memory(strategy_of("emr"), SIZES) == 5000 + 2000 + 8 * 13
    assert room.server_memory(cluster_average, SIZES) == 5000 + 800 + 2400
    assert room.worker_memory(Keeps(sum=True, masks=(0.5, 1.0)), SIZES, 3) == 5000 + 3200 + 3 * 26
    assert room.worker_memory(Keeps(vectors=True), SIZES, 2) == 5000 + 3200 + 2 * 400
    inline = tiny(strategies=["average"])
    assert room.run_memory(inline, SIZES, 7) == 800 + 2000 + 3200
    assert room.run_memory(inline, SIZES, 7, measured=9000) == 800 + 2000 + 4000
    pool = tiny(strategies=["average"], workers={"kind": "ray", "count": 3, "cohort": 2})
    assert room.run_memory(pool, SIZES, 7) == 800 + 2000 + 3 * (5000 + 3200)
    cluster = tiny(strategies=["average"], workers={"kind": "ray", "address": "auto"})
    assert room.run_memory(cluster, SIZES, 7) == 800 + 2000


def test_seconds_and_operations_by_hand() -> None:
    """A step has 4 examples of 5 tokens: those of pooled steps are 2 more."""
    work = Work(tunings=4, mask_steps=10, pooled_steps=3, pooled_examples=8, evaluations=6)
    assert plan.seconds(work, {"plain": 4}, 20, SPEEDS) == 4 * (0.5 + 20 * 0.25) + (10 + 2) * 0.25 + 6 * 0.125
    assert plan.flops(work, 20, 1000, SPEEDS) == 6 * 1000 * (90 + 2) * 20 + 2 * 1000 * 6 * 30
    assert plan.seconds(Work(), {None: 0}, 20, SPEEDS) == 0


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
    rows = plan.rows_of(scenario, sizes)
    assert [row.label for row in rows] == list(told)
    assert len(rows) == 35
    for row in rows:
        assert row.learn is not None
        assert row.forget is not None
        found = told[row.label]
        works = {"learn": row.learn, "forget": row.forget}
        assert {k: w.gradient_steps(scenario.tuning) for k, w in works.items()} == found["gradient_steps"], row.label
        assert {k: w.evaluations for k, w in works.items()} == found["evaluations"], row.label
        tuned = {key: work.tunings + work.pooled for key, work in works.items()}
        assert sum(tuned.values()) == found["client_tunings"], row.label
        assert tuned["forget"] == found["client_tunings_forget"], row.label


def test_every_strategys_bytes_are_those_of_the_files(
    everything: tuple[Scenario, Path, dict[str, int]], sizes: Sizes
) -> None:
    scenario, run, _ = everything
    told, left = summary_of(run)["strategies"], price.left(scenario, sizes.clients, 7)
    assert len(left) == 4
    for label, strategy in strategies_of(scenario, 7).items():
        predicted = room.storage(strategy, sizes, sizes.clients), room.storage(strategy, sizes, left)
        assert predicted == (told[label]["storage_before"], told[label]["storage_bytes"]), label


def test_the_state_of_a_run_takes_the_bytes_that_were_told(
    everything: tuple[Scenario, Path, dict[str, int]], sizes: Sizes
) -> None:
    """At the end; JSON files, which hold a few hundred bytes a client, are not counted."""
    scenario, run, _ = everything
    files = [path for path in (run / "state" / "7").rglob("*") if path.is_file() and path.suffix != ".json"]
    predicted = room.state_bytes(scenario, sizes, price.left(scenario, sizes.clients, 7), 7)
    assert predicted == pytest.approx(sum(path.stat().st_size for path in files), rel=0.01)


def test_the_work_of_a_whole_run_is_what_its_workers_did(
    everything: tuple[Scenario, Path, dict[str, int]], sizes: Sizes
) -> None:
    scenario, _, counted = everything
    found = price.of_run(scenario, sizes.clients, 7)
    assert found is not None
    work, rules = found
    assert rules == {"plain": 8 + 4 + 4, "sign_fixed": 8 + 4 + 4}  # learning, deriving, audit
    assert (work.tunings + work.pooled, work.evaluations) == (counted["client_tunings"], counted["evaluations"])
    assert work.gradient_steps(scenario.tuning) == counted["gradient_steps"]


@pytest.mark.parametrize(("requests", "every"), [(3, 1), (5, 3), (8, 3), (0, 1)])
def test_releases_of_any_size_cost_what_a_run_pays(tmp_path: Path, sizes: Sizes, requests: int, every: int) -> None:
    strategies = ["zero_shot", "local", "average", "ties", {"clamu": {"clusters": 3, "steps": 2}}, *POOLED[:2]]
    stream = {"requests": requests, "release": {"every": every}}
    scenario = tiny(strategies=strategies, stream=stream, audit=[])
    run, counted = counted_run(scenario, tmp_path / "run")
    told = summary_of(run)["strategies"]
    assert len(price.releases_of(scenario, sizes.clients, 7)) == math.ceil(requests / every)
    assert [r.leaving for r in price.releases_of(scenario, sizes.clients, 7)] == [
        tuple(record["clients"]) for record in records_of(run, "release")
    ]
    for row in plan.rows_of(scenario, sizes):
        assert row.forget is not None
        assert row.forget.gradient_steps(scenario.tuning) == told[row.label]["gradient_steps"]["forget"], row.label
    found = price.of_run(scenario, sizes.clients, 7)
    assert found is not None
    assert found[0].gradient_steps(scenario.tuning) == counted["gradient_steps"]


def test_calibration_measures_two_clients_of_the_mean_size(site: Site) -> None:
    scenario = tiny(strategies=["average", "sift_masks", {"clamu": {"affinity": "features"}}])
    before = sizes_of(site, scenario.stream)
    here = open_site(scenario.settings(7))
    found, speeds = calibrate(scenario, here, before)
    assert set(speeds.step) == set(speeds.joining) == {"plain", "sign_fixed"}
    assert min([*speeds.step.values(), speeds.score]) > 0
    assert min(speeds.joining.values()) >= 0
    assert speeds.peak >= before.process > 10**7
    assert (found.clients, found.tunable, found.parameters) == (EIGHT, here.model.layout.size, here.model.parameters)
    (client,) = (shard.client for shard in nearest(here.dataset.shards, scenario.tuning, 3.0)[:1])
    reply = perform(here, tune_job([client], "plain", Wants(features=True)), {})
    assert found.features == reply.arrays[f"features/{client}"].size
    both = [shard.client for shard in nearest(here.dataset.shards, scenario.tuning, 3.0)]
    told = perform(here, tune_job(both, "plain", Wants()), {}).facts["tunings"].values()
    tokens = sum(one["tokens"] for one in told) / sum(one["steps"] for one in told)
    assert (speeds.step_examples, speeds.example_tokens * 3) == (3, pytest.approx(tokens))


def test_a_typical_client_is_near_the_mean(site: Site) -> None:
    shards = site.dataset.shards
    assert [batch_size(shard, TuningSpec(batch=2)) for shard in shards] == [2] * 8
    assert [batch_size(shard, TuningSpec(batch=20)) for shard in shards] == [3] * 8
    short = [type(s)(s.client, s.train[: 1 + i % 3]) for i, s in enumerate(shards)]  # 1 2 3 1 2 3 1 2
    assert [shard.client for shard in nearest(short, TuningSpec(), 2.1)] == ["u1", "u4"]


# -- room, and what is shown ------------------------------------------------------------------------------------------


def shown(table: Any, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_run_that_does_not_fit_is_refused_with_both_numbers() -> None:
    fits = Need({"runs/a": (10, 10)}, (10, 10), ("local", 5), ("emr", 6))
    room.refuse(fits)
    with pytest.raises(InputError) as disk:
        room.refuse(Need({"/tmp": (1, 2), "runs/a": (3_500_000, 10_000)}, (1, 2), ("local", 3_200_000), ("emr", 6)))
    assert str(disk.value) == (
        "runs/a: the run needs 3.5 MB of disk and 10 kB are free; the largest strategy is local with 3.2 MB"
    )
    with pytest.raises(InputError) as memory:
        room.refuse(Need({"runs/a": (1, 2)}, (64 * 10**9, 8 * 10**9), ("local", 1), ("clamu", 3 * 10**9)))
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


def test_needs_of_all_seeds_and_of_the_audit_add_up_on_one_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    one = len(save({"value": np.zeros(100, dtype=np.float32)}))
    scenario = tiny(strategies=["average", "local"], seeds=[1, 2])
    total = room.storage(strategy_of("average"), SIZES, EIGHT)
    need = room.need_of(scenario, SIZES, tmp_path / "runs" / "a")
    ((folder, (needed, free)),) = need.disk.items()
    assert folder == str(tmp_path / "runs" / "a")
    assert needed == 2 * (total + 8 * one) + total + 4 * one  # four are left for the audit's rebuild
    assert free > 0
    assert need.most_disk == ("local", 8 * one)
    assert need.memory[0] == 800 + 2000 + 8 * 400 + 3200 + 3 * 400
    quiet = room.need_of(tiny(strategies=["ties"], audit=[]), SIZES, tmp_path)
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
    rows = plan.rows_of(scenario, big)
    slow = {"plain": 100.0, "sign_fixed": 100.0}
    speeds = Speeds(slow, dict.fromkeys(slow, 1000.0), 50.0, 5.0, 20000.0, 9000.0, 10**9)
    text = shown(plan.table(scenario, big, speeds, rows, width), width)
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
    joining = sizes_of(open_site(scenario.settings(7)), scenario.stream).clients
    found = price.of_run(scenario, joining, 7)
    assert found is not None
    assert len(joining) == 5
    assert (found[0].tunings, found[0].evaluations) == (counted["client_tunings"], counted["evaluations"])
    assert found[0].evaluations == 2 * (7 + 7)
