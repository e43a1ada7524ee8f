"""What undisturbed runs come to."""

import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from child import SCENARIO, Undisturbed, events, moments, outcome, start


@pytest.fixture(scope="session", params=[[7], [7, 8]], ids=["one seed", "two seeds"])
def undisturbed(request: pytest.FixtureRequest, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """A run that nobody kills, and where it stood when."""
    folder = tmp_path_factory.mktemp("undisturbed")
    scenario, run, log = folder / "scenario.yaml", folder / "run", folder / "log"
    scenario.write_text(yaml.safe_dump(SCENARIO | {"seeds": request.param}))
    found = moments(start(["run", str(scenario), "--out", str(run)], log), run, log)
    return Undisturbed(scenario, outcome(run), len(events(run)), found)
