"""A disk that is full in the middle of a commit: nothing is lost, one clear error; the run goes on once there is room."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from child import Undisturbed, call, outcome, strays

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own in memory, 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("a file system can be mounted by the administrator only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("left", [0, 40_000, 120_000, 200_000, 280_000, 360_000, 440_000])
def test_a_disk_that_is_full_in_the_middle(undisturbed: Undisturbed, small_disk: Path, tmp_path: Path, left: int) -> None:
    """With so many bytes left on it the run ends early, wherever that is."""
    scenario, expected, *_ = undisturbed
    run, log, ballast = small_disk / "run", tmp_path / "log", small_disk / "ballast"
    ballast.write_bytes(b"\1" * max(shutil.disk_usage(small_disk).free - left, 1))
    code = call(["run", str(scenario), "--out", str(run), "--set", "report.html=false"], log)
    told = log.read_text()
    assert (code, "Traceback" in told) == (1, False), told
    assert "No space left on device" in told or "of disk" in told
    ballast.unlink()
    if (run / "scenario.yaml").exists():
        assert call(["run", "--resume", str(run)], log) == 0, log.read_text()
    else:  # nothing had begun
        shutil.rmtree(run, ignore_errors=True)
        assert call(["run", str(scenario), "--out", str(run), "--set", "report.html=false"], log) == 0, log.read_text()
    assert outcome(run) == expected
    assert strays(run) == []
    assert call(["verify", str(run)], log) == 0
