"""What every strategy is held to, whether it has a row in the registry or comes from outside the project."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from clients.data.manifest import Manifest
from clients.data.shards import Sides
from clients.errors import InputError
from clients.work.site import open_site
from sim.life import ledger
from sim.life.life import Life, open_life
from sim.life.saved import SUMMARY, open_run
from sim.life.system import System, parts_by_rule, read_json
from sim.plan import needs, work
from sim.plan.rehearsal import Rehearsal
from sim.plan.sizes import sizes_of
from sim.scenario.model import Scenario
from strategies.registry import REGISTRY, strategy_of
from strategies.strategy import parameters_of

SMALL: dict[str, Any] = {
    "steps": 2, "edit_steps": 2, "batch": 8, "tunings": 3, "clusters": 3, "shards": 2, "slices": 2,
}  # fmt: skip
"""Parameters that make any strategy small, where it has them."""


def small(name: str) -> dict[str, Any]:
    """A strategy of the registry, or ``module:Class``, as a scenario names it, with its small parameters."""
    fields = parameters_of(strategy_of(name)).model_fields
    return {name: {key: value for key, value in SMALL.items() if key in fields}}


NO_LABELS = Manifest(("u0",), {}, (), False, Sides())
"""Data whose answers are free text."""


def takes_free_text(name: str) -> bool:
    """Whether a strategy takes data whose answers are free text: it says so itself."""
    strategy = strategy_of(name)
    try:
        strategy(parameters_of(strategy).model_validate(small(name)[name]), 0, Path()).check(NO_LABELS)
    except InputError:
        return False
    return True


FREE = [name for name in REGISTRY if takes_free_text(name)]
LABELLED = [name for name in REGISTRY if name not in FREE]
"""Rows that need answers that are labels."""
TWEETS: dict[str, Any] = {
    "family": "sent140", "source": "microblog", "clients": 8, "minimum": 8, "maximum": 16, "public_clients": 3,
}  # fmt: skip
"""Small data with labels."""


def rehearsed(scenario: Scenario) -> Rehearsal:
    """Dry runs of a scenario on its first seed, with the true sizes of its model."""
    seed = scenario.seeds[0]
    site = open_site(scenario.settings(seed))
    features = site.model.features(site.shard(site.manifest.clients[0]).train)
    return Rehearsal(scenario, replace(sizes_of(site, scenario), features=len(features)), seed)


def plan_is_the_ledger(run: Path, label: str) -> None:
    """What ``plan`` says of a strategy is what its run has taken, to the step and to the byte."""
    scenario, told = open_run(run).scenario, read_json(run / SUMMARY)
    rehearsal, found = rehearsed(scenario), told["strategies"][label]
    clients, steps = rehearsal.sizes.clients, work.steps_of(rehearsal.strategies[label].rule, scenario.tuning)
    releases = work.releases_of(scenario, clients, rehearsal.seed)
    priced = {
        "learn": work.learning(rehearsal, label, clients),
        "forget": work.forgetting(rehearsal, label, releases),
    }
    assert {key: each.gradient_steps(steps) for key, each in priced.items()} | {"join": 0} == found["gradient_steps"]
    assert {key: each.evaluations for key, each in priced.items()} | {"join": 0} == found["evaluations"]
    assert sum(each.tunings + each.pooled for each in priced.values()) == found["client_tunings"]
    assert priced["forget"].tunings + priced["forget"].pooled == found["client_tunings_forget"]
    left = work.remaining(releases, clients)
    assert needs.storage(rehearsal, label, clients) == found["storage_before"]
    assert needs.storage(rehearsal, label, clients, left) == found["storage_bytes"]


def deletes_exactly(run: Path, label: str) -> None:
    """An exact strategy's state is that of a rebuild without the forgotten; an approximate one says that it is not exact."""
    told, record = read_json(run / SUMMARY), life_of(run).record
    found = told["strategies"][label]
    rebuilt = record["rebuilt_digest"][label]
    assert rebuilt is not None
    if found["exactness"] == "exact":
        assert record["state_digest"][label] == rebuilt
        assert found["bitwise_equal"] is True
    released = [r for r in ledger.read(run / "ledger.jsonl") if r["event"] in ("learned", "release")]
    assert released[-1]["strategies"][label]["state_digest"] == record["state_digest"][label]
    assert len({r["strategies"][label]["state_digest"] for r in released}) == len(released)  # it speaks of who is a member


def serves_nobody_what_a_member_gets(run: Path, label: str) -> None:
    """The forgotten are served what somebody is who never joined."""
    system, forgotten = opened(run)
    strategy, kept = system.strategies[label], system.kept_of(label)
    unknown = strategy.serve(kept, "nobody at all")
    for client in forgotten:
        served = strategy.serve(kept, client)
        assert served.facts == unknown.facts
        assert not served.arrays
    assert not unknown.arrays


def keeps_what_it_declares(run: Path, label: str) -> None:
    """Its storage is that of its parts' files and its own; members have files, and the forgotten none."""
    system, forgotten = opened(run)
    strategy, kept = system.strategies[label], system.kept_of(label)
    assert set(strategy.parts) <= set(kept.parts)
    assert set(parts_by_rule({label: strategy})[strategy.rule]) == set(strategy.parts)
    for client in forgotten:
        assert not any(kept.store.has(name) for name in kept.files_of(client))
        assert not any(strategy.store.has(name) for name in strategy.files_of(client))
    for part in strategy.parts:
        for client in kept.members:
            assert all(kept.store.has(name) for name in kept[part].files_of(client))


def opened(run: Path) -> tuple[System, list[str]]:
    """A run's first system as it is saved, and who was forgotten."""
    life = life_of(run)
    return life.system, life.record["forgotten"]


def life_of(run: Path, checked: bool = True) -> Life:
    """The life of a run's first seed, as the last commit left it."""
    found = open_run(run)
    return open_life(run, found.scenario, found.scenario.seeds[0], found.ledger, found.commands, checked)
