"""One scenario through every transport, with one and two workers and cohorts of one and four: equal to the last bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract import FREE, LABELLED, TWEETS, small
from test_run import summary_of
from test_unlearning import pictures
from tiny_scenario import TINY, tiny

from sim.run import run_scenario
from sim.scenario.workers import WorkersSpec
from sim.workers.opening import one_ray
from strategies.registry import REGISTRY
from strategies.strategy import parameters_of

SMALL: dict[str, Any] = {
    "strategies": ["local", {"average": {"alpha": [0.5, 1.0]}}, "sift_masks", {"clamu": {"clusters": 3, "steps": 2}}],
    "stream": {"requests": 2, "release": {"every": 2}},
    "audit": [],
}

BY_ANCHOR = {"by": "anchor"}
"""Every process has to make the same anchors."""
EVERY_ROW: list[Any] = [
    {name: parameters | (BY_ANCHOR if "by" in parameters_of(REGISTRY[name]).model_fields else {})}
    for entry in map(small, FREE)
    for name, parameters in entry.items()
]


def states(workers: dict[str, Any], out: Path, **sections: Any) -> dict[str, Any]:
    told = summary_of(run_scenario(tiny(**(SMALL | sections), workers=workers), out))
    return {label: (s["state_digest"], s["accuracy"], s["gradient_steps"]) for label, s in told["strategies"].items()}


@pytest.fixture(scope="module")
def inline(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    assert TINY["workers"] == {"kind": "inline", "cohort": 3}
    return states({"kind": "inline", "cohort": 1}, tmp_path_factory.mktemp("inline") / "run")


@pytest.fixture(scope="module")
def ray_here(cache: Path) -> Iterator[None]:
    """One Ray instance for all runs: starting one takes longer than a run."""
    with one_ray(WorkersSpec(count=2)):
        yield


def test_cohorts_do_not_matter_inline(inline: dict[str, Any], tmp_path: Path) -> None:
    assert states({"kind": "inline", "cohort": 4}, tmp_path / "run") == inline


# Each transport learns and deletes, with both numbers of workers and both sizes of cohorts; the others are slow tests.
FAST = [("flower", "ray", 2, 4), ("ray", "flower", 1, 1)]
SLOW = [(kind, kind, count, cohort) for kind in ("ray", "flower") for count in (1, 2) for cohort in (1, 4)]


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize(
    ("learn", "stream", "count", "cohort"), [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_every_transport_gives_the_same_state(
    inline: dict[str, Any], learn: str, stream: str, count: int, cohort: int, tmp_path: Path
) -> None:
    workers = {"learn": learn, "stream": stream, "count": count, "cohort": cohort}
    assert states(workers, tmp_path / "run") == inline


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_every_row_of_the_registry_is_the_same_everywhere(tmp_path: Path) -> None:
    """SISA's shards and NegMerge's tunings come back in any order, and start from shared vectors; every process makes the
    same anchors."""
    for sections in ({"strategies": EVERY_ROW}, {"strategies": [*map(small, LABELLED)], "data": TWEETS}):
        found = [
            states({"kind": kind, "count": 2, "cohort": 4}, tmp_path / f"{kind}-{'data' in sections}", **sections)
            for kind in ("inline", "ray", "flower")
        ]
        assert found[0] == found[1] == found[2]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_the_gap_to_retraining_is_the_same_everywhere(tmp_path: Path) -> None:
    """Probes come back in any order."""
    kinds = ("inline", "ray", "flower")
    runs = [run_scenario(pictures(workers={"kind": kind, "count": 2}), tmp_path / kind) for kind in kinds]
    assert summary_of(runs[0])["unlearning"] == summary_of(runs[1])["unlearning"] == summary_of(runs[2])["unlearning"]
