"""Scenarios of the reliability tests, and what undisturbed runs of them come to."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from child import call, events, outcome  # noqa: E402

SCENARIO: dict[str, Any] = {
    "name": "killed",
    "data": {"source": "fiction", "clients": 10, "pairs": 4, "public_authors": 8},
    "model": {"tiny": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "steps": 3, "batch": 4}, "max_length": 128},
    "tuning": {"steps": 2},
    "strategies": [
        "local",
        "average",
        "sift_masks",
        {"clamu": {"clusters": 2, "steps": 2}},
        "emr",
        {"sisa": {"shards": 2, "slices": 2, "steps": 2, "batch": 8}},
        {"central": {"steps": 2, "batch": 8}},
    ],
    "stream": {
        "join": 8,
        "unseen": 1,
        "requests": 4,
        "examples": 1,
        "joins": 1,
        "returns": 1,
        "release": {"every": 2},
        "evaluate_after": [2, 6],
    },
    "workers": {"kind": "inline", "checkpoint_seconds": 0.001, "cohort": 2},
    "audit": ["bitwise"],
}


@pytest.fixture(scope="session", params=[[7], [7, 8]], ids=["one seed", "two seeds"])
def undisturbed(
    request: pytest.FixtureRequest, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], int]:
    """A scenario file, what its undisturbed run comes to, and how many lines that run's ledger has."""
    folder = tmp_path_factory.mktemp("undisturbed")
    scenario = folder / "scenario.yaml"
    scenario.write_text(yaml.safe_dump(SCENARIO | {"seeds": request.param}))
    assert call(["run", str(scenario), "--out", str(folder / "run")], folder / "log") == 0, (folder / "log").read_text()
    return scenario, outcome(folder / "run"), len(events(folder / "run"))
