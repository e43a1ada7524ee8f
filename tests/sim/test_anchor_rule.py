"""Clusters by anchor and SISA's vote in the simulator: exact after deletions, refused where data lack what they need."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_families import CASES
from test_run import records_of, summary_of
from tiny_scenario import tiny

from clients.errors import InputError
from clients.work.anchors import anchors, number
from clients.work.site import open_site
from sim.life.system import strategies_of
from sim.plan import plan
from sim.plan.checks import check_machine
from sim.plan.rehearsal import Rehearsal
from sim.plan.sizes import sizes_of
from sim.proof.verify import verify
from sim.run import forget, run_scenario

STRATEGIES: list[Any] = [
    {"cluster_average": {"clusters": 3, "by": "anchor"}},
    {"vote_masks": {"clusters": 4, "by": "anchor"}},
    {"apa": {"clusters": 3, "by": "anchor", "steps": 2, "batch": 8}},
    {"vote_masks": {"label": "hashed", "clusters": 4}},
]
ANCHORED = ["cluster_average", "vote_masks", "apa"]
EIGHT = [f"u{i}" for i in range(8)]


@pytest.fixture(scope="module")
def anchored(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, not to be changed: 4 deletions in 2 releases of 2."""
    return run_scenario(tiny(strategies=STRATEGIES), tmp_path_factory.mktemp("anchored") / "run")


def stayed(run: Path) -> list[str]:
    gone = {record["client"] for record in records_of(run, "request")}
    return [client for client in EIGHT if client not in gone]


def numbers(count: int) -> dict[str, int]:
    """Every client's anchor, made here."""
    site = open_site(tiny().settings(7))
    at = anchors(site.model, site.manifest.public, count, 7)
    return {client: number(site.model, site.shard(client).train, at) for client in EIGHT}


def test_clusters_by_anchor_are_verified_and_follow_from_the_own_data(anchored: Path) -> None:
    told = summary_of(anchored)["strategies"]
    assert all(strategy["bitwise_equal"] is True for strategy in told.values())
    findings, traces = verify(anchored)
    assert [finding.equal for finding in findings] == [True] * 4
    assert traces == []
    three, four = numbers(3), numbers(4)
    state = anchored / "state" / "7"
    for rule, count, right in (("plain", "3", three), ("sign_fixed", "4", four)):
        members = json.loads((state / f"kept-{rule}" / "members.json").read_text())
        assert {c: member["anchors"] for c, member in members.items()} == {c: {count: right[c]} for c in stayed(anchored)}
    chosen = json.loads((state / "strategies" / "apa" / "chosen.json").read_text())
    assert {name: sorted(members) for name, members in chosen["clusters"].items()} == {
        f"cluster-{k}": [c for c in stayed(anchored) if three[c] == k] for k in sorted({three[c] for c in stayed(anchored)})
    }
    shards = {c: member["digest"] for c, member in json.loads((state / "kept-nothing/members.json").read_text()).items()}
    assert {c: digest for members in chosen["clusters"].values() for c, digest in members.items()} == shards
    assert {c: sorted(scores) for c, scores in chosen["scores"].items()} == dict.fromkeys(
        stayed(anchored), sorted(chosen["clusters"])
    )
    assert len(set(three.values())) > 1
    masks = sorted(path.stem for path in (state / "strategies" / "vote_masks").glob("*.bits"))
    assert masks == [f"cluster-{k}" for k in sorted({four[c] for c in stayed(anchored)})]


def test_the_ledger_does_not_tell_where_a_clients_data_lie(anchored: Path) -> None:
    assert len(records_of(anchored, "join")) == 16
    assert "anchors" not in (anchored / "ledger.jsonl").read_text()


def test_costs_by_anchor(anchored: Path) -> None:
    """As by hash where vectors are subtracted; APA trains and scores the clusters of those who leave."""
    told, three = summary_of(anchored)["strategies"], numbers(3)
    scenario = tiny(strategies=STRATEGIES[:2])
    rehearsal = Rehearsal(scenario, sizes_of(open_site(scenario.settings(7)), scenario), 7)
    for row in plan.rows_of(rehearsal):
        found = told[row.label]
        assert found["gradient_steps"] == {"learn": 8 * 3, "forget": 4 * 3, "join": 0}
        assert found["evaluations"] == {"learn": row.learn.evaluations, "forget": row.forget.evaluations, "join": 0}
    steps, scored, here = 0, 0, set(EIGHT)
    for release in records_of(anchored, "release"):
        left = {three[c] for c in release["clients"]}
        here -= set(release["clients"])
        changed = left & {three[c] for c in here}
        steps, scored = steps + 2 * len(changed), scored + len(changed) * len(here)
    present = len(set(three.values()))
    assert told["apa"]["gradient_steps"] == {"learn": 2 * present, "forget": steps, "join": 0}
    assert told["apa"]["evaluations"] == {"learn": 8 * present, "forget": scored, "join": 0}


def test_join_then_forget_is_never_joined_whatever_the_order(anchored: Path, tmp_path: Path) -> None:
    gone = sorted({record["client"] for record in records_of(anchored, "request")})
    other = run_scenario(tiny(strategies=STRATEGIES, audit=[], stream={"requests": 0}), tmp_path / "other")
    for client in gone:
        forget(other, client)
    one, two = ({k: s["state_digest"] for k, s in summary_of(run)["strategies"].items()} for run in (anchored, other))
    assert one == two


@pytest.mark.parametrize("name", ANCHORED)
def test_too_few_public_examples_are_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    data = {"source": "fiction", "clients": 8, "pairs": 3, "public_authors": 8}
    many = {name: {"clusters": 500, "by": "anchor"}}
    message = rf"strategies: {name}: by: anchor makes 500 anchors of public examples, and the data have \d+ different ones"
    scenario = tiny(data=data, strategies=["average", many])
    for look in (
        lambda: run_scenario(scenario, tmp_path / "run"),
        lambda: check_machine(scenario, tmp_path),
        lambda: plan.plan(scenario, tmp_path),
    ):
        with pytest.raises(InputError, match=message):
            look()
    assert list(tmp_path.iterdir()) == []
    assert strategies_of(tiny(strategies=[{name: {"clusters": 500}}]), 7)[name].parameters.by == "hash"


def test_a_vote_on_free_text_is_refused(tmp_path: Path) -> None:
    scenario = tiny(strategies=["average", {"sisa": {"label": "votes", "aggregate": "vote"}}])
    with pytest.raises(InputError, match="strategies: votes: aggregate: vote needs answers that are labels"):
        run_scenario(scenario, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["fresh head", "clip i"])
def test_where_answers_are_labels_shards_vote_and_anchors_number(name: str, tmp_path: Path) -> None:
    sisa = {"shards": 3, "slices": 1, "steps": 2, "batch": 8}
    strategies: list[Any] = [
        {"sisa": sisa},
        {"sisa": sisa | {"label": "votes", "aggregate": "vote"}},
        {"cluster_average": {"clusters": 2, "by": "anchor"}},
        {"apa": {"clusters": 2, "by": "anchor", "steps": 2, "batch": 8}},
    ]
    case, stream = CASES[name], {"requests": 2, "release": {"every": 2}}
    model = {"max_length": 64} | case["model"]
    run = run_scenario(tiny(**case | {"model": model, "strategies": strategies, "stream": stream}), tmp_path / "run")
    findings, traces = verify(run)
    assert [finding.equal for finding in findings] == [True] * 4
    assert traces == []
    told = summary_of(run)["strategies"]
    assert told["votes"]["gradient_steps"] == told["sisa"]["gradient_steps"]
