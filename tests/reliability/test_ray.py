"""Ray's processes killed under a run: a worker's death costs a retry; without Ray the run ends soon, and is gone on with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from child import SCENARIO, call, events, outcome, strays

pytestmark = pytest.mark.slow

RAY = {"kind": "ray", "count": 2, "cohort": 2, "checkpoint_seconds": 0.001}


@pytest.fixture(scope="module")
def scenario(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A scenario played by Ray, and what it comes to inline."""
    folder = tmp_path_factory.mktemp("ray")
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(SCENARIO | {"workers": RAY}))
    inline = ["--set", 'workers={"kind": "inline", "cohort": 2}']
    assert call(["run", str(path), "--out", str(folder / "run"), *inline], folder / "log") == 0, (folder / "log").read_text()
    return path, results(folder / "run")


def results(run: Path) -> dict[str, Any]:
    """Its outcome; Ray's replies come in any order, and so do the ledger's lines of one step."""
    found = outcome(run)
    return {"summary": found["summary"], "rows": found["rows"], "events": sorted(found["events"], key=str)}


def started(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """The command as a process of its own, not forked: Ray starts threads."""
    code = f"import sys; sys.argv = ['unmerge', *{arguments!r}]; from sim.cli import main; main()"
    return subprocess.Popen([sys.executable, "-c", code], stdout=log.open("ab"), stderr=subprocess.STDOUT)


def below(process: subprocess.Popen[bytes], *names: str) -> list[psutil.Process]:
    """Ray's processes of a run whose command lines hold one of these names."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            line = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if any(name in line for name in names):
            found.append(child)
    return found


def wait_for_lines(process: subprocess.Popen[bytes], run: Path, lines: int) -> None:
    while process.poll() is None and not ((run / "ledger.jsonl").exists() and len(events(run)) >= lines):
        time.sleep(0.02)


def test_workers_that_are_killed_cost_a_retry(scenario: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    path, expected = scenario
    run, log = tmp_path / "run", tmp_path / "log"
    process = started(["run", str(path), "--out", str(run)], log)
    killed = 0
    for lines in (10, 30, 50):
        wait_for_lines(process, run, lines)
        workers = below(process, "ray::Worker")
        if process.poll() is None and workers:
            workers[killed % len(workers)].send_signal(signal.SIGKILL)
            killed += 1
    assert process.wait(300) == 0, log.read_text()
    assert killed >= 2
    assert "Traceback" not in log.read_text()
    assert results(run) == expected
    print(f"\n{killed} workers killed under a run; nothing else happened")


@pytest.mark.parametrize("victim", ["raylet/raylet", "gcs_server"])
def test_without_ray_a_run_ends_soon_and_is_gone_on_with(
    scenario: tuple[Path, dict[str, Any]], tmp_path: Path, victim: str
) -> None:
    path, expected = scenario
    run, log = tmp_path / "run", tmp_path / "log"
    process = started(["run", str(path), "--out", str(run)], log)
    wait_for_lines(process, run, 25)
    (victim_process, *_) = below(process, victim)
    victim_process.send_signal(signal.SIGKILL)
    before = time.monotonic()
    code = process.wait(90)
    spent = time.monotonic() - before
    while f"({Path(victim).name} was killed" not in (told := log.read_text()) and time.monotonic() - before < 60:
        time.sleep(0.1)  # where Ray's library has ended the process, another one speaks for it
    assert code == 1, told
    assert spent < 60
    assert "Traceback" not in told
    assert f"Error: workers: Ray has ended ({Path(victim).name} was killed" in told
    assert "memory or disk); lower workers.count, workers.cohort or tuning.micro_batch" in told
    assert "Nothing that is done is lost." in told
    assert "unmerge run --resume" in told
    assert started(["run", "--resume", str(run)], log).wait(300) == 0, log.read_text()
    assert results(run) == expected
    assert strays(run) == []
    print(f"\n{victim} killed: the run ended after {spent:.0f} s")


def test_a_driver_of_ray_that_is_killed_is_gone_on_with(scenario: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    path, expected = scenario
    run, log = tmp_path / "run", tmp_path / "log"
    process = started(["run", str(path), "--out", str(run)], log)
    wait_for_lines(process, run, 25)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    assert started(["run", "--resume", str(run)], log).wait(300) == 0, log.read_text()
    assert results(run) == expected
