"""Pooled training in the simulator: retraining is exact at its true price, edits are not and never pass for it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from contract import life_of
from test_run import records_of, summary_of
from tiny_scenario import CENTRAL_STEPS, EDIT_STEPS, EDITED, POOLED, RETRAINED, labels, tiny
from typer.testing import CliRunner

from clients.data.dataset import Shard
from clients.data.population import Population
from clients.errors import InputError
from clients.work.site import open_site
from clients.work.tuning import tune
from sim.cli import app
from sim.plan.checks import prepare
from sim.plan.plan import plan
from sim.proof.verify import verify
from sim.run import forget, run_scenario
from sim.scenario.file import load_scenario
from sim.scenario.model import StrategySpec
from sim.stream.requests import draw
from strategies.retrain.sisa import checkpoint
from strategies.state.clusters import number
from strategies.state.kept import chooses
from strategies.strategy import MERGED

EXACT, APPROXIMATE = labels(RETRAINED), labels(EDITED)
NEGATED = [spec.label for spec in map(StrategySpec.model_validate, EDITED) if spec.strategy == "negmerge"]
CLIENTS = [f"u{i}" for i in range(8)]
ONE_EACH = [entry for entry in POOLED if "merge" not in next(iter(entry.values()))]
SISA_STEPS = APA_STEPS = 2
VARIANTS, LAMBDAS = 3, 21


@pytest.fixture(scope="module")
def pooled(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, not to be changed: 4 deletions in 2 releases of 2."""
    return run_scenario(tiny(strategies=["zero_shot", *POOLED]), tmp_path_factory.mktemp("pooled") / "run")


def gone_after(run: Path) -> list[set[str]]:
    """Who is gone after each release."""
    first, second = (set(record["clients"]) for record in records_of(run, "release"))
    return [first, first | second]


def test_retraining_is_exact_and_edits_never_are(pooled: Path) -> None:
    told = summary_of(pooled)["strategies"]
    assert list(told) == ["zero_shot", *EXACT, *APPROXIMATE]
    for label in EXACT:
        assert (told[label]["exactness"], told[label]["deletion"], told[label]["bitwise_equal"]) == (
            "exact",
            "retrain",
            True,
        )
    for label in APPROXIMATE:
        found = (told[label]["exactness"], told[label]["deletion"], told[label]["bitwise_equal"])
        assert found == ("approximate", "edit", False)
    findings, traces = verify(pooled)
    assert {f.label: f.equal for f in findings} == {"zero_shot": True} | dict.fromkeys(EXACT, True) | dict.fromkeys(
        APPROXIMATE, False
    )
    assert traces == []
    result = CliRunner().invoke(app, ["verify", str(pooled)])
    assert (result.exit_code, f"Verified: {1 + len(EXACT)} exact states" in result.output) == (0, True)


def test_nothing_of_the_forgotten_is_named_in_the_state(pooled: Path) -> None:
    for path in (pooled / "state" / "7" / "strategies").rglob("chosen.json"):
        named = {client for client in gone_after(pooled)[-1] if f'"{client}"' in path.read_text()}
        assert named == set(), path


def test_costs(pooled: Path) -> None:
    """Central: all steps again at each release. SISA: what the leavers were in. Edits: as their headers say."""
    told = summary_of(pooled)["strategies"]
    assert told["central"]["gradient_steps"] == {"learn": CENTRAL_STEPS, "forget": 2 * CENTRAL_STEPS, "join": 0}
    assert told["central"]["client_tunings"] == 8 + 6 + 4

    place = {c: (number(c, 2, 7), number(f"slice of {c}", 2, 7)) for c in CLIENTS}
    learn = SISA_STEPS * len(set(place.values()))
    steps, before = 0, set[str]()
    for gone in gone_after(pooled):
        stay = [c for c in CLIENTS if c not in gone]
        for shard in (0, 1):
            first = min((place[c][1] for c in gone - before if place[c][0] == shard), default=2)
            steps += SISA_STEPS * len({place[c] for c in stay if place[c][0] == shard and place[c][1] >= first})
        before = gone
    assert told["sisa"]["gradient_steps"] == {"learn": learn, "forget": steps, "join": 0}
    assert steps < 2 * learn

    groups = {k: {c for c in CLIENTS if number(c, 3, 7) == k} for k in range(3)}
    retrained, scored, before = 0, 0, set[str]()
    for gone in gone_after(pooled):
        changed = [k for k, group in groups.items() if group & (gone - before) and group - gone]
        retrained, scored, before = retrained + len(changed), scored + len(changed) * (8 - len(gone)), gone
    present = sum(bool(group) for group in groups.values())
    assert told["apa"]["gradient_steps"] == {"learn": APA_STEPS * present, "forget": APA_STEPS * retrained, "join": 0}
    assert told["apa"]["evaluations"] == {"learn": 8 * present, "forget": scored, "join": 0}

    asked = [sum(chooses(c, 7) for c in CLIENTS if c not in gone) for gone in gone_after(pooled)]  # half of who stay
    evaluations = sum(LAMBDAS * (2 + some) for some in asked)  # two leave at each release
    for label in NEGATED:
        assert told[label]["gradient_steps"] == {"learn": CENTRAL_STEPS, "forget": 2 * VARIANTS * EDIT_STEPS, "join": 0}
        tried = VARIANTS if label == "best" else 1
        assert told[label]["evaluations"] == {"learn": 0, "forget": tried * evaluations, "join": 0}
        assert told[label]["client_tunings_forget"] == 2 * VARIANTS * 2
    assert told["linear_negation"]["gradient_steps"] == {"learn": CENTRAL_STEPS, "forget": 2 * EDIT_STEPS, "join": 0}
    assert told["linear_negation"]["evaluations"] == {"learn": 0, "forget": evaluations, "join": 0}
    forget = {label: told[label]["gradient_steps"]["forget"] for label in ("gradient_ascent", "salun", "l1_sparse")}
    assert forget == {"gradient_ascent": 2 * EDIT_STEPS, "salun": 2 * (2 * EDIT_STEPS + 1), "l1_sparse": 2 * EDIT_STEPS}


def test_storage_is_one_model_or_one_per_checkpoint(pooled: Path) -> None:
    told, size = summary_of(pooled)["strategies"], summary_of(pooled)["parameters"]["tunable"]
    for label in ("central", *APPROXIMATE):
        assert 4 * size < told[label]["storage_before"] < 4 * size + 200
        vectors = 2 if label == "linear_negation" else 1  # a displacement beside the model, once somebody has left
        assert 4 * size * vectors < told[label]["storage_bytes"] < (4 * size + 200) * vectors
    stay = [c for c in CLIENTS if c not in gone_after(pooled)[-1]]
    stages = {(number(c, 2, 7), number(f"slice of {c}", 2, 7)) for c in stay}
    clusters = {number(c, 3, 7) for c in stay}
    assert 4 * size * len(clusters) < told["apa"]["storage_bytes"] < (4 * size + 200) * len(clusters)
    assert 4 * size * len(stages) < told["sisa"]["storage_bytes"] < (4 * size + 200) * len(stages)


def test_the_saved_central_model_is_the_pool_of_who_stayed_tuned_here(tmp_path: Path) -> None:
    """Independent of the pooled code: batches as large as the pool make it one client's ordinary tuning."""
    central = {"central": {"steps": 3, "batch": 100}}
    sisa = {"sisa": {"shards": 2, "slices": 1, "steps": 3, "batch": 100}}
    run = run_scenario(tiny(strategies=[central, sisa], audit=[]), tmp_path / "run")
    scenario = load_scenario(str(run / "scenario.yaml"))
    site = open_site(scenario.settings(7))
    stay = [c for c in CLIENTS if c not in gone_after(run)[-1]]

    def together(clients: list[str]) -> np.ndarray:
        examples = tuple(example for client in clients for example in site.shard(client).train)
        return tune(site.model, Shard("pool", examples), "plain", site.settings.tuning, 7).vector

    system = life_of(run).system
    np.testing.assert_array_equal(system.strategies["central"].vector(MERGED), together(stay))
    shards = [shard for shard in (0, 1) if any(number(c, 2, 7) == shard for c in stay)]
    models = [together([c for c in stay if number(c, 2, 7) == shard]) for shard in shards]
    for shard, vector in zip(shards, models, strict=True):
        np.testing.assert_array_equal(system.strategies["sisa"].vector(checkpoint(shard, 0)), vector)

    rows = pq.read_table(run / "metrics.parquet").to_pylist()
    last = {(r["strategy"], r["client"]): r["value"] for r in rows if r["deleted"] == 4}
    for client in CLIENTS:
        examples = site.shard(client).side(site.manifest.sides.reported)
        each = []
        for vector in models:
            site.model.assign(site.model.theta0.numpy() + vector)
            each.append(site.model.values(examples))
        site.model.reset()
        assert last["sisa", client] == pytest.approx(float(np.mean(each)), rel=1e-6)


def test_without_deletions_an_edited_model_is_the_central_one(tmp_path: Path) -> None:
    run = run_scenario(tiny(strategies=POOLED, stream={"requests": 0}), tmp_path / "run")
    told = summary_of(run)["strategies"]
    assert all(strategy["bitwise_equal"] for strategy in told.values())
    assert len({json.dumps(told[label]["accuracy"]) for label in ("central", *APPROXIMATE)}) == 1


def test_edits_remember_the_order_and_retraining_does_not(tmp_path: Path) -> None:
    digests: list[dict[str, Any]] = []
    for name, leaving in (("one", ("u1", "u6")), ("other", ("u6", "u1"))):
        run = run_scenario(tiny(strategies=ONE_EACH, audit=[], stream={"requests": 0}), tmp_path / name)
        for client in leaving:
            costs = forget(run, client)
        assert costs["central"].gradient_steps == CENTRAL_STEPS
        assert costs["salun"].gradient_steps == 2 * EDIT_STEPS + 1
        digests.append({label: s["state_digest"] for label, s in summary_of(run)["strategies"].items()})
    same = {label for label, found in digests[0].items() if found == digests[1][label]}
    assert same == set(EXACT)


def test_everybody_may_leave(tmp_path: Path) -> None:
    scenario = tiny(strategies=["zero_shot", *ONE_EACH], stream={"requests": 8, "release": {"every": 5}})
    assert len(draw(scenario.stream, Population(clients=tuple(CLIENTS), joining=tuple(CLIENTS)), 7)) == 8
    told = summary_of(run_scenario(scenario, tmp_path / "run"))["strategies"]
    for label, strategy in told.items():
        assert strategy["accuracy"]["forgotten_after"] == told["zero_shot"]["accuracy"]["forgotten_after"], label
        assert strategy["storage_bytes"] == 0, label


def test_edits_lower_the_score_of_the_forgotten(tmp_path: Path) -> None:
    """With a model that has learned something; NegMerge keeps 95 % of the score of the half of members that it asks."""
    central = {"steps": 80, "batch": 24}
    strategies: list[Any] = [
        "zero_shot",
        {"negmerge": central | {"tunings": 5}},
        {"gradient_ascent": central},
        {"salun": central},
    ]
    run = run_scenario(
        tiny(strategies=strategies, stream={"requests": 1}, tuning={"steps": 3, "lr": 0.02}, audit=[]), tmp_path / "run"
    )
    told = {label: strategy["accuracy"] for label, strategy in summary_of(run)["strategies"].items()}
    zero = told.pop("zero_shot")["forgotten_before"]
    for label, found in told.items():
        assert found["forgotten_before"] > 2 * zero, label
        assert found["forgotten_after"] < 0.95 * found["forgotten_before"], label
    rows = [row for row in pq.read_table(run / "metrics.parquet").to_pylist() if row["strategy"] == "negmerge"]
    half = [row for row in rows if chooses(row["client"], 7)]
    (gone,) = {row["client"] for row in rows if row["split"] == "forgotten"}
    before, after = ([r["value"] for r in half if r["events"] == events and r["client"] != gone] for events in (0, 1))
    assert len(after) == len(before) > 1
    assert sum(after) >= 0.949 * sum(before)
    system = life_of(run).system
    chosen = system.strategies["negmerge"].chosen
    assert 0 < chosen["lambda"] <= 1
    assert 0 < chosen["kept_share"] < 0.9


@pytest.mark.parametrize("asked", [prepare, lambda scenario, seed: plan(scenario, Path())])
def test_a_model_of_too_few_tensors_is_refused_before_anybody_is_tuned(cache: Path, asked: Any) -> None:
    """The tiny model tunes 14 tensors: 12 of its block, and two of the norm at its end."""
    said = "strategies: s3t: slices: 15 take a group of tensors each, and the model tunes 14 tensors; take fewer"
    with pytest.raises(InputError) as told:
        asked(tiny(strategies=[{"s3t": {"slices": 15}}]), 7)
    assert str(told.value) == said
    prepare(tiny(strategies=[{"s3t": {"slices": 14}}]), 7)
