"""Any life, cut and resumed anywhere, ends where a fresh run begins that has only who and what is left."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contract import FREE, small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_scenario import TINY, tiny

from clients.data.source import ShardRef
from clients.jobs import perform, tune_job
from clients.work.site import open_site
from sim.life import journal
from sim.life.asking import Asker
from sim.life.ledger import Ledger
from sim.life.life import Life, open_life
from sim.life.playing import play
from sim.life.system import strategies_of
from sim.scenario.model import Scenario
from sim.stream.requests import FORGET, JOIN, Request
from sim.workers.workers import InlineWorkers
from strategies.registry import REGISTRY
from strategies.state.kept import Kept

CLIENTS = 5
EXACT: list[Any] = [
    *(small(name) for name in FREE if REGISTRY[name].exactness == "exact"),
    {"sift_masks": {"label": "counts", "scale": "counts"}},
    {"clamu": {"label": "near", "clusters": 2, "steps": 2, "affinity": "task_vectors"}},
]


GROUPS = 5
"""The strategies are dealt to so many tests."""


def scenario(group: int = 0) -> Scenario:
    return tiny(
        data=TINY["data"] | {"clients": CLIENTS, "pairs": 3},
        strategies=EXACT[group::GROUPS],
        stream={"join": 3, "requests": 0},
        audit=[],
        workers={"kind": "inline", "cohort": 2, "checkpoint_seconds": 1e-6},
    )


class Killed(BaseException):
    """In the place of a signal."""


@contextmanager
def killed_after(operations: int | None) -> Iterator[None]:
    """No more than so many operations on files and the ledger happen in the block; then the process is as good as dead."""
    left = operations

    def counted(work: Any) -> Any:
        def run(*args: Any, **options: Any) -> Any:
            nonlocal left
            if left is not None:
                if left <= 0:
                    raise Killed
                left -= 1
            return work(*args, **options)

        return run

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in [(journal.Journal, "write"), (journal, "_flush"), (Ledger, "commit"), (Path, "replace")]:
            patch.setattr(owner, name, counted(getattr(owner, name)))
        yield


def lived(run: Path, asked: Scenario, events: Sequence[Request], cuts: Sequence[int]) -> Life:
    """Play learning and all events, killed after so many operations, and gone on with, as often as there are cuts."""
    for cut in [*cuts, None]:
        try:
            with killed_after(cut):
                ledger = Ledger(run / "ledger.jsonl")
                life = open_life(run, asked, 7, ledger, events)
                play(life, InlineWorkers(open_site(life.system.settings)))
                return life
        except Killed:
            continue
    raise AssertionError("unreachable")


def fresh_digests(life: Life, folder: Path) -> dict[str, str]:
    """Digests of a system in which only those who are there ever joined, one by one, with the examples that they have."""
    system, everybody = life.system, life.system.population
    site = open_site(system.settings)
    assert system.settings.population is not None
    found = {}
    for label, strategy in strategies_of(system.scenario, 7, folder, everybody.joining).items():
        old = system.kept_of(label)
        kept = Kept(folder / label, old.rule, old.bounds, strategy.parts, 7, halved=old.halved, grid=old.layout.grid)
        refs = {}
        for client in sorted(old.members, reverse=True):
            mine, all_ = everybody.examples[client], system.settings.population.examples[client]
            without = {*all_.all} - {*mine.all}
            refs[client] = ShardRef(client=client, without=frozenset(without))
            if old.rule is None:
                kept.register({client: site.shard(refs[client]).digest()})
            else:
                kept.absorb(perform(site, replace(tune_job((client,), old.rule, kept.wants()), refs=refs), {}))
        kept.seal()
        workers = Refs(site, refs)
        strategy.localize(kept, Asker(workers, strategy))
        found[label] = strategy.digest(kept)
    return found


class Refs(InlineWorkers):
    """Workers who are told what names stand for."""

    def __init__(self, site: Any, refs: dict[str, ShardRef]) -> None:
        super().__init__(site)
        self.refs = refs

    def run(self, jobs: Any, shared: Any = {}) -> Any:  # noqa: B006
        return super().run((replace(job, refs=self.refs) for job in jobs), shared)


def requests(keys: dict[str, tuple[str, ...]]) -> st.SearchStrategy[list[Request]]:
    """Events of any kind and order; some cannot be meant."""
    names = st.sampled_from([f"u{i}" for i in range(CLIENTS)])
    forget = st.builds(lambda client: Request(client, 1.0, FORGET), names)
    join = st.builds(lambda client: Request(client, 1.0, JOIN), names)
    one = st.integers(0, 2)
    some = st.builds(lambda client, n: Request(client, 1.0, FORGET, examples=keys[client][n : n + 1]), names, one)
    return st.lists(st.one_of(forget, join, join, some, some), min_size=1, max_size=6)


CUTS = st.lists(st.integers(0, 150), max_size=3)


@pytest.fixture(scope="module")
def keys(cache: Path) -> dict[str, tuple[str, ...]]:
    """The keys of every client's examples."""
    site = open_site(scenario().settings(7))
    return {shard.client: tuple(example.key for example in shard.train) for shard in site.shards()}


@pytest.mark.parametrize("group", range(GROUPS))
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), cuts=CUTS)
def test_any_life_ends_as_a_fresh_run_of_who_and_what_is_left(
    keys: dict[str, tuple[str, ...]], group: int, data: st.DataObject, cuts: list[int]
) -> None:
    check(group, data.draw(requests(keys)), cuts)


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), cuts=CUTS)
def test_many_lives(keys: dict[str, tuple[str, ...]], group: int, data: st.DataObject, cuts: list[int]) -> None:
    check(group, data.draw(requests(keys)), cuts)


def check(group: int, events: Sequence[Request], cuts: Sequence[int]) -> None:
    """Play a life with cuts, and compare it with a fresh one and with plain sets of who and what is left."""
    asked = scenario(group)
    folder = Path(tempfile.mkdtemp())
    try:
        life = lived(folder / "run", asked, events, cuts)
        assert life.record["commands"] == len(events)
        assert life.system.digests() == life.record["state_digest"] == fresh_digests(life, folder / "fresh")
        members, present = left_after(asked, life, events)
        assert {c: {*r.all} for c, r in life.system.population.examples.items() if c in present} == members
        assert life.present == present
        again = open_life(folder / "run", asked, 7, Ledger(folder / "run" / "ledger.jsonl"), events)
        assert again.system.digests() == life.record["state_digest"]
    finally:
        shutil.rmtree(folder)


def left_after(asked: Scenario, life: Life, events: Sequence[Request]) -> tuple[dict[str, set[str]], set[str]]:
    """Who is there in the end, and with which examples, in plain sets."""
    every = {shard.client: {e.key for e in shard.train} for shard in open_site(asked.settings(7)).shards()}
    there = {client: set(every[client]) for client in life.system.population.joining}
    for event in events:
        if event.kind == JOIN:
            there.setdefault(event.client, set(every[event.client]))
        elif event.client in there:
            there[event.client] -= set(event.examples)
            if not event.examples or not there[event.client]:
                del there[event.client]
    return there, set(there)
