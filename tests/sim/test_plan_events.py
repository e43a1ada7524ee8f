"""The plan of a stream in which clients join, come back and lose examples is what its run takes."""

from pathlib import Path
from typing import Any

import pytest
from noting import noted_run
from test_run import summary_of
from tiny_scenario import TINY, tiny

from clients.work.site import open_site
from sim.plan import work
from sim.plan.rehearsal import Rehearsal
from sim.plan.sizes import sizes_of
from sim.plan.work import Release

STRATEGIES: list[Any] = [
    "zero_shot",
    "local",
    {"average": {"alpha": 1.0}},
    {"sift_masks": {"keep": 0.5, "scale": "counts"}},
    {"clamu": {"clusters": 2, "steps": 2}},
    {"clamu": {"label": "pairs", "clusters": 2, "steps": 2, "affinity": "task_vectors"}},
    "emr",
    {"sisa": {"shards": 2, "slices": 2, "steps": 2, "batch": 8}},
    {"s3t": {"shards": 2, "slices": 2, "orders": 2, "steps": 2, "batch": 8}},
    {"apa": {"clusters": 2, "steps": 2, "batch": 8}},
    {"central": {"steps": 2, "batch": 8}},
]


@pytest.mark.parametrize("every", [1, 2, 5])
def test_the_plan_of_joins_returns_and_examples_is_what_the_run_takes(tmp_path: Path, every: int) -> None:
    stream = {"join": 6, "requests": 3, "examples": 1, "joins": 1, "returns": 1, "release": {"every": every}}
    scenario = tiny(data=TINY["data"] | {"clients": 7}, strategies=STRATEGIES, stream=stream, audit=["bitwise"])
    run, noted = noted_run(scenario, tmp_path / "run")
    site, told = open_site(scenario.settings(7)), summary_of(run)
    sizes = sizes_of(site, scenario)
    rehearsal = Rehearsal(scenario, sizes, 7)
    releases = work.releases_of(scenario, sizes.clients, 7)
    assert sum(len(r.leaving) for r in releases) == 2
    assert (sum(len(r.joining) for r in releases), sum(len(r.changed) for r in releases)) == (2, 1)
    for label, found in told["strategies"].items():
        steps = work.steps_of(rehearsal.strategies[label].rule, scenario.tuning)
        priced = {
            "learn": work.learning(rehearsal, label, sizes.clients),
            "forget": work.forgetting(rehearsal, label, releases),
            "join": work.joining(rehearsal, label, releases),
        }
        assert {key: each.gradient_steps(steps) for key, each in priced.items()} == found["gradient_steps"], label
        assert {key: each.evaluations for key, each in priced.items()} == found["evaluations"], label
        assert sum(each.tunings + each.pooled for each in priced.values()) == found["client_tunings"], label
    done, rules = work.of_run(rehearsal, sizes.clients)
    tuned = [len(job.clients) for job, _ in noted if job.kind == "tune"]
    assert sum(rules.values()) == done.tunings == sum(tuned)


def test_who_leaves_and_comes_back_at_one_release_counts_as_both() -> None:
    release = Release(leaving=("b",), staying=("a", "c", "b"), joining=("b",), changed=("c",))
    assert sorted(release.before) == ["a", "b", "c"]
    assert sorted(release.unchanged) == ["a", "b"]
    assert Release((), ("a", "b"), ("b",)).before == ("a",)
    assert not Release((), ("a", "b"), ("b",)).forgets
