"""What undisturbed runs come to."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from child import SCENARIO, call, events, outcome


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
