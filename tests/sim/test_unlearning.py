"""The gap to retraining: attack and arithmetic by hand, and runs in which exact numbers are those of a rebuild."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import life_of
from noting import noted_run
from rich.console import Console
from test_run import records_of, summary_of
from tiny_scenario import tiny

from clients.data.manifest import Manifest
from clients.data.shards import Sides
from clients.errors import InputError
from clients.exact import digest
from clients.jobs import perform, probe_job
from clients.settings import TuningSpec
from clients.work.site import HERE, open_site
from sim.attacks import gap as unlearning
from sim.attacks import membership
from sim.attacks.gap import Pooled, gap, measures
from sim.life.learning import learn, localize
from sim.life.ledger import Ledger
from sim.life.life import open_life
from sim.plan import needs, plan, work
from sim.plan import seconds as pricing
from sim.plan.rehearsal import Rehearsal, rehearsals_of
from sim.plan.sizes import sizes_of
from sim.plan.speeds import Speeds
from sim.report.gap import table
from sim.report.report import write_report
from sim.run import forget, run_scenario
from sim.scenario.model import Scenario
from sim.study.compare import with_strategies
from sim.workers.opening import open_workers
from strategies.work import Work

POOL = {"steps": 3, "batch": 8}
STRATEGIES: list[Any] = [
    "zero_shot",
    "average",
    {"sift_masks": {"keep": 0.5}},
    {"central": {"label": "retrained", **POOL}},
    {"sisa": {"shards": 2, "slices": 2, **POOL}},
    {"gradient_ascent": {**POOL, "edit_steps": 2, "edit_rate": 1.0}},
]
SECTIONS: dict[str, Any] = {
    "data": {"family": "images", "sets": ["digits"], "clients": 6, "maximum": 12, "minimum": 8, "validation": 0,
             "test": 4, "public_clients": 2},
    "model": {"base": "resnet-18", "resnet": {"depths": [1], "widths": [8], "pixels": 8, "steps": 10, "batch": 8}},
    "tuning": {"steps": 2, "lr": 0.01},
    "strategies": STRATEGIES,
    "stream": {"requests": 2, "release": {"every": 2}},
    "audit": ["gap"],
}  # fmt: skip
EXACT = ["zero_shot", "average", "sift_masks", "retrained", "sisa"]


def pictures(**sections: Any) -> Scenario:
    return tiny(**SECTIONS | sections)


@pytest.fixture(scope="module")
def measured(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, Path, int]:
    """A finished run, not to be changed, and how many evaluations its workers have really done."""
    scenario = pictures()
    run, noted = noted_run(scenario, tmp_path_factory.mktemp("measured") / "run")
    return scenario, run, sum(facts.get("evaluations", 0) for _, facts in noted)


def record_of(run: Path, seed: int) -> dict[str, Any]:
    """A seed's ``progress.json``."""
    record: dict[str, Any] = json.loads((run / "state" / str(seed) / "progress.json").read_text())
    return record


# -- by hand ----------------------------------------------------------------------------------------------------------


def test_the_attack_on_what_can_be_told_apart() -> None:
    """Members are sure, outsiders are not: the forgotten are taken for what they look like."""
    members, outsiders = np.linspace(0.9, 1.0, 50), np.linspace(0.1, 0.5, 80)
    assert membership.efficacy(members, outsiders, np.array([0.95, 0.99]), 7) == 0.0
    assert membership.efficacy(members, outsiders, np.array([0.2, 0.3]), 7) == 1.0
    assert membership.efficacy(members, outsiders, np.array([0.2, 0.95, 0.3, 0.4]), 7) == 0.75


def test_the_attack_on_what_cannot_be_told_apart() -> None:
    """All three drawn alike: about half are called non-members, on average over draws."""
    rng = np.random.default_rng(0)
    found = [membership.efficacy(*rng.random((3, 300)), seed=draw) for draw in range(20)]
    assert np.mean([value for value in found if value is not None]) == pytest.approx(0.5, abs=0.06)


def test_the_attack_is_balanced_and_follows_from_the_seed() -> None:
    """Ten times as many members as outsiders: unbalanced, the attack would call everything near the border a member."""
    rng = np.random.default_rng(1)
    members, outsiders, forgotten = rng.normal(0.6, 0.2, 3000), rng.normal(0.4, 0.2, 300), rng.normal(0.5, 0.2, 1000)
    values = [membership.efficacy(members, outsiders, forgotten, seed) for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]
    assert values[0] == pytest.approx(0.5, abs=0.15)


def test_the_curve_of_the_attack_by_counting_pairs() -> None:
    rng = np.random.default_rng(2)
    forgotten, outsiders = rng.integers(0, 6, 30) / 6, rng.integers(0, 5, 40) / 6
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in forgotten for b in outsiders]
    assert membership.auc(forgotten, outsiders) == pytest.approx(sum(pairs) / len(pairs))
    assert membership.auc(np.array([0.9]), np.array([0.1, 0.2])) == 1.0
    assert membership.auc(np.array([0.1]), np.array([0.9])) == 0.0
    assert membership.auc(np.array([0.3, 0.3]), np.array([0.3])) == 0.5


def test_nobody_to_attack_has_no_value() -> None:
    some, none = np.array([0.5]), np.array([])
    assert [membership.efficacy(*sides, 7) for sides in ((none, some, some), (some, none, some), (some, some, none))] == [
        None
    ] * 3
    assert membership.auc(none, some) is membership.auc(some, none) is None


def test_accuracies_are_pooled_over_examples() -> None:
    sure = Pooled(
        retained=np.array([[0.9, 0.95, 0.8, 0.9], [1, 1, 0, 1]]),
        forgotten=np.array([[0.2, 0.9], [0, 1]]),
        test=np.array([[0.1, 0.2, 0.9, 0.3, 0.1], [0, 0, 1, 0, 0]]),
    )
    found = measures(sure, 7)
    assert [found[key] for key in ("retained", "forgotten", "test")] == [0.75, 0.5, 0.2]
    assert found["auc"] == pytest.approx((2.5 + 4.5) / 10)  # .2 is above two of five and ties once; .9 above four, one tie


def test_the_gap_is_the_mean_of_four_distances() -> None:
    retrained: unlearning.Measures = {"retained": 1.0, "forgotten": 0.9, "test": 0.9, "mia": 0.1, "auc": 0.5}
    mine: unlearning.Measures = {"retained": 0.9, "forgotten": 1.0, "test": 0.8, "mia": 0.5, "auc": 0.9}
    assert gap(mine, retrained) == pytest.approx((0.1 + 0.1 + 0.1 + 0.4) / 4)
    assert gap(mine, mine) == 0.0
    assert gap(mine | {"mia": None}, retrained) is None
    assert gap(mine, retrained | {"forgotten": None}) is None


# -- runs -------------------------------------------------------------------------------------------------------------


def test_retraining_has_no_gap_and_the_others_that_of_their_numbers(measured: tuple[Scenario, Path, int]) -> None:
    _, run, _ = measured
    told = summary_of(run)["unlearning"]
    assert list(told) == ["zero_shot", "average", "sift_masks", "retrained", "sisa", "gradient_ascent"]
    assert told["retrained"]["gap"] == 0.0
    for mine in told.values():
        distances = [abs(mine[key] - told["retrained"][key]) for key in ("retained", "forgotten", "test", "mia")]
        assert mine["gap"] == pytest.approx(sum(distances) / 4)
    assert len({tuple(mine.values()) for mine in told.values()}) == len(told)
    (record,) = records_of(run, "gap")
    assert (record["reference"], record["strategies"]) == ("retrained", told)


def test_the_numbers_are_those_of_the_models_that_are_served(measured: tuple[Scenario, Path, int]) -> None:
    """Each client probed by itself here, from the saved state; test examples are of those on whom nothing is chosen."""
    _, run, _ = measured
    life, told = life_of(run), summary_of(run)["unlearning"]
    system = life.system
    site, gone = open_site(system.settings), set(life.record["forgotten"])
    for label, strategy in system.strategies.items():
        right: dict[str, list[float]] = {"retained": [], "forgotten": [], "test": []}
        for client in system.manifest.clients:
            kept = system.kept_of(label)
            job = probe_job([(client, strategy.serve(kept, client))])
            arrays = perform(site, job, {name: strategy.direction(kept, name) for name in job.shared}).arrays
            right["forgotten" if client in gone else "retained"] += arrays[f"train/{client}"][1].tolist()
            if int(digest.of_json(["half", 7, client])[:8], 16) % 2:
                right["test"] += arrays[f"reported/{client}"][1].tolist()
        assert {split: len(values) for split, values in right.items()} == {"retained": 32, "forgotten": 16, "test": 16}
        for split, values in right.items():
            assert told[label][split] == pytest.approx(sum(values) / len(values)), (label, split)


def test_exact_strategies_show_the_numbers_of_a_system_without_the_forgotten(
    measured: tuple[Scenario, Path, int], tmp_path: Path
) -> None:
    """To the last bit; what was only edited does not."""
    scenario, run, _ = measured
    gone = life_of(run).record["forgotten"]
    life = open_life(tmp_path / "fresh", scenario, 7, Ledger(tmp_path / "ledger.jsonl"))
    fresh = life.system
    stay = [client for client in fresh.manifest.clients if client not in gone]
    with open_workers(scenario.workers, "inline", fresh.settings) as workers:
        learn(fresh, dict.fromkeys(fresh.kept, stay), workers)
        localize(fresh, workers)
        fresh.save()
        unlearning.measured(life, workers)
    found = life.record["unlearning"]
    told = summary_of(run)["unlearning"]
    assert {label: found[label] for label in EXACT} == {label: told[label] for label in EXACT}
    assert found["gradient_ascent"] != told["gradient_ascent"]


def test_a_plan_knows_the_evaluations_of_the_gap_and_no_strategy_pays_for_them(
    measured: tuple[Scenario, Path, int],
) -> None:
    scenario, run, evaluations = measured
    sizes = sizes_of(open_site(scenario.settings(7)), scenario)
    found = work.of_run(Rehearsal(scenario, sizes, 7), sizes.clients)
    without = work.of_run(Rehearsal(pictures(audit=[]), sizes, 7), sizes.clients)
    assert found[0].evaluations + found[0].probes == evaluations
    assert found[0].probes >= 6 * len(STRATEGIES)
    assert found == (without[0] + Work(probes=found[0].probes), without[1])
    told = summary_of(run)["strategies"]
    for row in plan.rows_of(Rehearsal(scenario, sizes, 7)):
        paid = told[row.label]["evaluations"]
        assert (paid["learn"], paid["forget"]) == (row.learn.evaluations, row.forget.evaluations)


def test_a_probe_takes_as_long_as_all_examples_of_a_client() -> None:
    speeds = Speeds({"plain": 0.5}, {"plain": 0.25}, 0.125, 4.0, 5.0, 30.0, 9000, whole=3.0)
    assert pricing.seconds(Work(evaluations=2, probes=4), {None: 0}, TuningSpec(steps=20), speeds) == (2 + 4 * 3) * 0.125
    assert pricing.flops(Work(evaluations=2, probes=4), 20, 1000, speeds) == 2 * 1000 * (2 + 4 * 3) * 30


def test_one_more_request_is_measured_again(measured: tuple[Scenario, Path, int], tmp_path: Path) -> None:
    scenario, run, _ = measured
    again = run_scenario(scenario, tmp_path / "run")
    assert summary_of(again)["unlearning"] == summary_of(run)["unlearning"]
    gone = life_of(again).record["forgotten"]
    client = next(c for c in open_site(scenario.settings(7)).manifest.clients if c not in gone)
    forget(again, client)
    after = summary_of(again)["unlearning"]
    assert after["retrained"]["gap"] == 0.0
    assert after != summary_of(run)["unlearning"]
    assert len(records_of(again, "gap")) == 2


def test_means_and_spread_over_seeds_and_all_three_tables(tmp_path: Path) -> None:
    chosen = ["average", {"central": POOL}]
    run = run_scenario(pictures(seeds=[7, 8], strategies=chosen, report={"html": True}), tmp_path / "run")
    told, records = summary_of(run), [record_of(run, seed) for seed in (7, 8)]
    for key in ("retained", "mia", "gap"):
        a, b = (record["unlearning"]["average"][key] for record in records)
        assert told["unlearning"]["average"][key] == pytest.approx((a + b) / 2)
        assert told["unlearning_spread"]["average"][key] == pytest.approx(abs(a - b) / 2**0.5)
    assert (told["unlearning"]["central"]["gap"], told["unlearning_spread"]["central"]["gap"]) == (0.0, 0.0)
    made = table(told)
    assert made is not None
    console = Console(width=120, file=io.StringIO(), color_system=None)
    console.print(made)
    assert isinstance(console.file, io.StringIO)
    (row,) = (line for line in console.file.getvalue().splitlines() if line.startswith(" average "))
    mean, spread = (told[section]["average"]["gap"] for section in ("unlearning", "unlearning_spread"))
    shown = f"{mean:.3f}\N{NO-BREAK SPACE}±{spread:.3f}"
    assert row.rstrip().endswith(shown)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Unlearning, beside retraining" in page
    assert f'<td class="number">{shown}</td></tr>' in page
    assert '<th scope="row">run (2)/<wbr>average</th>' in write_report(run, [run]).read_text(encoding="utf-8")


def test_a_run_without_it_has_no_table(finished: Path) -> None:
    assert "unlearning" not in summary_of(finished)
    assert table(summary_of(finished)) is None


def test_nobody_forgotten_is_no_gap(tmp_path: Path) -> None:
    run = run_scenario(pictures(strategies=[{"central": POOL}], stream={"requests": 0}), tmp_path / "run")
    (mine,) = json.loads((run / "summary.json").read_text())["unlearning"].values()
    assert [mine[key] for key in ("forgotten", "mia", "auc", "gap")] == [None] * 4
    assert 0 < mine["test"] <= mine["retained"] <= 1
    made = table(summary_of(run))
    assert made is not None
    (cell,) = made.columns[-1].cells
    assert str(cell) == "–"


def test_a_comparison_keeps_the_scenarios_own_retraining() -> None:
    made = with_strategies(pictures(), ["gradient_ascent"])
    assert [spec.label for spec in made.strategies] == ["zero_shot", "local", "retrained", "gradient_ascent"]
    assert made.strategies[2].parameters.model_dump()["steps"] == 3
    assert [spec.label for spec in with_strategies(pictures(), ["central"]).strategies] == ["zero_shot", "local", "central"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"strategies": ["average"]}, "audit: gap compares with retraining, and the run has no strategy central; add it"),
        ({"data": {"source": "fiction"}}, "audit: gap needs test examples: data.test above 0, which these"),
        ({"data": SECTIONS["data"] | {"test": 0}}, "take: table, sent140, reddit, stackoverflow, images"),
        ({"audit": ["gaps"]}, "Input should be 'bitwise' or 'gap'"),
    ],
)
def test_what_cannot_be_compared_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="validation error") as told:
        pictures(**sections)
    assert message in str(told.value)


def test_data_without_test_examples_are_told_before_the_model_is_made() -> None:
    """As of a family from outside; a small share leaves each client one example to report."""
    without = Manifest(("a",), {}, (), pictures=True, sides=Sides())
    with pytest.raises(InputError, match="audit: gap needs test examples, and no client has any"):
        unlearning.check(without, pictures())
    unlearning.check(without, pictures(audit=[]))
    shares = pictures(data=SECTIONS["data"] | {"test": 0.01, "validation": 0.01}).settings(7)
    shards = HERE.dataset(shares.data, shares.seed).shards
    assert {(len(shard.train), len(shard.validation), len(shard.test)) for shard in shards} == {(10, 1, 1)}


def test_the_bitwise_audit_alone_takes_room_and_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``gap`` rebuilds nothing; a rebuild lies in the run folder and takes as much as the state of those who stay."""
    monkeypatch.setattr(needs.machine, "disk_free", lambda folder: (hash(str(folder)), 10**12))
    sizes = sizes_of(open_site(pictures().settings(7)), pictures())
    disks = [
        needs.need_of(rehearsals_of(pictures(audit=audit), sizes), tmp_path).disk for audit in (["gap"], ["bitwise", "gap"])
    ]
    assert [set(disk) for disk in disks] == [{str(tmp_path)}] * 2
    gap_alone, both = (disk[str(tmp_path)][0] for disk in disks)
    rehearsal = Rehearsal(pictures(), sizes, 7)
    stayed = work.remaining(work.releases_of(pictures(), sizes.clients, 7), sizes.clients)
    assert both - gap_alone == needs.state_bytes(rehearsal, rehearsal.strategies, stayed) > 0
    audits: tuple[list[str], ...] = ([], ["gap"], ["bitwise"], ["bitwise", "gap"])
    found = [work.of_run(Rehearsal(pictures(audit=audit), sizes, 7), sizes.clients) for audit in audits]
    tuned = [done.tunings for done, _ in found]
    assert tuned[0] == tuned[1] < tuned[2] == tuned[3]
