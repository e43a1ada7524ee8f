"""Runs of closed-form heads on labelled data: against plain regressions on the features of who is left, and who is asked."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from contract import LABELLED, TWEETS, opened, small
from noting import Noted, noted_run
from tiny_scenario import TINY, tiny

from clients.data.shards import Shard
from clients.errors import InputError
from clients.jobs import perform, tune_job
from clients.work.contributions import SUM
from clients.work.head import one_hot
from clients.work.heads import solved, weighed
from clients.work.rules import rule_of
from clients.work.site import Site, open_site
from clients.work.statistics import Statistics
from clients.work.statistics import opened as matrices
from sim.cli import main
from sim.run import forget, run_scenario
from strategies.registry import REGISTRY
from strategies.state.grids import Grids
from strategies.state.sum import TOTAL
from strategies.strategy import parameters_of

STREAM = {"requests": 4, "evaluate_after": [4], "release": {"every": 2}}
FIXED = {"ridge": 0.5, "mix": 0.1}
HEADS: list[Any] = [
    {"ridge": {**FIXED, "kappa": 3.0}},
    {"ridge": {**FIXED, "label": "pooled", "personal": False}},
    {"ridge": {**FIXED, "label": "random", "kappa": 3.0, "features": "relu", "width": 24}},
    {"ridge_own": FIXED},
    {"label_prior": {"weight": 1.0}},
    "class_means",
]


@pytest.fixture(scope="module")
def lived(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Noted]:
    """Eight clients, four of whom leave; nothing is chosen, so that every job to derive has its reason in the strategy."""
    return noted_run(tiny(data=TWEETS, strategies=HEADS, stream=STREAM, audit=[]), tmp_path_factory.mktemp("heads") / "run")


def plain(site: Site, shards: list[Shard], relu: int) -> tuple[np.ndarray, np.ndarray]:
    """G and B of pooled training data."""
    phi = np.concatenate([site.embedding.of(shard.train, relu) for shard in shards])
    y = np.concatenate([one_hot(shard.train, site.manifest.label_sets) for shard in shards])
    return phi.T @ phi, phi.T @ y


@pytest.mark.parametrize(("label", "relu", "kappa"), [("ridge", 0, 3.0), ("pooled", 0, 0.0), ("random", 24, 3.0)])
def test_members_get_the_regression_on_the_data_of_who_is_left(
    lived: tuple[Path, Noted], label: str, relu: int, kappa: float
) -> None:
    """A member's own data count 1 + κ times; the forgotten get the regression on all who are left."""
    system, forgotten = opened(lived[0])
    site, strategy, kept = open_site(system.settings), system.strategies[label], system.kept_of(label)
    left = sorted(kept.members)
    assert (len(left), len(forgotten)) == (4, 4)
    gram, cross = plain(site, [site.shard(client) for client in left], relu)
    for client in [*left, forgotten[0]]:
        served: Any = strategy.serve(kept, client)
        assert served.settings == ((0.5, kappa, 0.1),)
        own = plain(site, [site.shard(client)], relu) if client in left and kappa else (0.0, 0.0)
        expected = np.linalg.solve(gram + kappa * own[0] + 0.5 * np.eye(len(gram)), cross + kappa * own[1])
        statistics = weighed(kept.direction(served.direction), served.own, kappa)
        np.testing.assert_allclose(solved(*matrices(statistics, len(gram)), 0.5), expected, rtol=1e-4, atol=1e-5)
    told = strategy.chosen, kept.direction(TOTAL)[: kept.bounds[1]]
    assert told[0] == {"ridge": 0.5, "kappa": kappa, "mix": 0.1}
    np.testing.assert_allclose(told[1], gram[np.triu_indices(len(gram))], rtol=0, atol=1e-5)


def test_the_controls_keep_what_plain_sums_say(lived: tuple[Path, Noted]) -> None:
    system, forgotten = opened(lived[0])
    site = open_site(system.settings)
    own, prior, means = (system.kept_of(label) for label in ("ridge_own", "label_prior", "class_means"))
    shards = {client: site.shard(client) for client in sorted(own.members)}
    for client, shard in shards.items():
        gram, cross = plain(site, [shard], 0)
        held = own[Grids()].values(client)
        np.testing.assert_allclose(held, np.r_[gram[np.triu_indices(len(gram))], cross.ravel()], rtol=0, atol=1e-5)
        counts = one_hot(shard.train, site.manifest.label_sets).sum(0)
        np.testing.assert_array_equal(prior[Grids()].values(client), counts)
    everybody = [example for shard in shards.values() for example in shard.train]
    counts = one_hot(everybody, site.manifest.label_sets).sum(0)
    np.testing.assert_array_equal(prior.direction(TOTAL), counts)
    np.testing.assert_allclose(means.direction(TOTAL), plain(site, list(shards.values()), 0)[1].ravel(), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(means.direction(TOTAL)[-len(counts) :], counts)
    served: Any = system.strategies["label_prior"].serve(prior, forgotten[0])
    assert (served.direction, served.own) == (TOTAL, None)


def derived(noted: Noted) -> dict[str, list[str]]:
    """Clients whose vectors were derived, by rule, in the order of jobs."""
    found: dict[str, list[str]] = {}
    for job, _ in noted:
        if job.kind == "tune":
            found.setdefault(job.facts["rule"], []).extend(job.clients)
    return found


def test_who_keeps_own_statistics_asks_nobody_at_a_deletion(lived: tuple[Path, Noted], tmp_path: Path) -> None:
    """Everybody is derived once, at the start. Only rules of which nothing but the sum is kept derive the leavers again."""
    alone = [{"ridge": {**FIXED, "kappa": 3.0}}, "ridge_own", "label_prior"]
    run, noted = noted_run(tiny(data=TWEETS, strategies=alone, stream=STREAM, audit=[]), tmp_path / "run")
    system, forgotten = opened(run)
    everybody = sorted({*system.kept_of("ridge").members, *forgotten})
    assert {rule: sorted(clients) for rule, clients in derived(noted).items()} == dict.fromkeys(
        ("gram", "label_counts"), everybody
    )
    releases = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    priced = [each["strategies"]["ridge"] for each in releases if each["event"] == "release"]
    assert [each["client_tunings"] for each in priced] == [0, 0]
    again = {rule: sorted(clients) for rule, clients in derived(lived[1]).items()}
    assert again["label_counts"] == again["gram-24"] == everybody  # of ``label_prior`` and ``random``
    assert again["gram"] == again["class_sums"] == sorted([*everybody, *forgotten])  # ``pooled`` and ``class_means``


def test_all_facts_tell_of_no_gradient_step(lived: tuple[Path, Noted]) -> None:
    """Whatever was asked."""
    assert {job.kind for job, _ in lived[1]} <= {"tune", "score"}
    assert {facts.get("gradient_steps", 0) for _, facts in lived[1]} == {0}


def test_own_statistics_that_are_damaged_are_refused_and_nothing_is_forgotten(tmp_path: Path) -> None:
    """The ledger says so. With the right file in its place the deletion is carried out."""
    run = run_scenario(tiny(data=TWEETS, strategies=[{"ridge": FIXED}], stream={"requests": 0}, audit=[]), tmp_path / "run")
    client = json.loads((run / "state/7/population.json").read_text())["joining"][0]
    file = min((run / "state/7").rglob("clients/grids/*.safetensors"))
    whole, others = file.read_bytes(), (run / "state/7/kept-gram/own_sum.safetensors").read_bytes()
    for damaged, reason in (
        (whole[:-1], "cannot be read as safetensors"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "the saved state of ridge is damaged"),
        (b"", "cannot be read as safetensors"),
    ):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=reason):
            forget(run, client)
        event = json.loads((run / "ledger.jsonl").read_text().splitlines()[-2])
        assert (event["event"], event["client"]) == ("refused", client)
        assert reason in event["reason"]
        assert (run / "state/7/kept-gram/own_sum.safetensors").read_bytes() == others
    file.write_bytes(whole)
    assert forget(run, client)["ridge"].client_tunings == 0
    assert (run / "state/7/kept-gram/own_sum.safetensors").read_bytes() != others


def test_a_feature_that_is_not_finite_is_told_by_the_clients_name(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = open_site(tiny(data=TWEETS, strategies=["class_means"]).settings(7))
    first, second = site.manifest.clients[:2]
    of, bad = site.embedding.of, site.shard(second).train[0]

    def broken(examples: Any, relu: int = 0) -> np.ndarray:
        found = of(examples, relu)
        found[[example == bad for example in examples], 0] = np.nan
        return found

    monkeypatch.setattr(site.embedding, "of", broken)
    for rule in ("gram", "class_sums"):
        said = perform(site, tune_job([first, second], rule, [SUM]), {}).error
        assert said is not None
        assert said.startswith(f"InputError: client {second}: a vector has NaN")


def counts_labels(name: str) -> bool:
    """Whether what a row sums are statistics, which need labels; its ``check`` is not asked."""
    row = REGISTRY[name]
    rule = row(parameters_of(row).model_validate(small(name)[name]), 7, Path()).rule
    return rule is not None and isinstance(rule_of(rule), Statistics)


@pytest.mark.parametrize("name", sorted({*filter(counts_labels, REGISTRY), *LABELLED}))
def test_free_text_is_refused_by_command_before_anything_is_done(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["unmerge", "run", "tiny.yaml", "--set", f"strategies=[{name}]"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said == f"Error: strategies: {name}: a head needs answers that are labels, and these are free text\n"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]
