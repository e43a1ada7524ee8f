"""A Flower deployment of separate processes: the same digests as inline, whoever holds the data, and nothing is left."""

import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.deployment.flower import FLOWERS_NODE, NODE, deployment
from tests.deployment.private import Private, outcome
from tests.deployment.processes import PROJECT, environment

pytestmark = [pytest.mark.slow, pytest.mark.deployment]


def of_this_test(home: Path) -> list[str]:
    """Commands of processes that have Flower's files under ``home``."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FLWR_HOME", "").startswith(str(home)):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("program", [NODE, FLOWERS_NODE], ids=["ours", "flowers"])
def test_two_nodes_with_data_of_their_own_give_the_digests_of_inline(
    program: Sequence[str], private: Private, tmp_path: Path
) -> None:
    """Half of the clients' data are at each node, and cohorts and scores hold clients of both."""
    home, out = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    with deployment(home, private.nodes, program) as flower:
        started = time.perf_counter()
        flower.run(private.scenario, out)
        print(f"{program[-1]}: {time.perf_counter() - started:.0f} s")
    assert outcome(out) == private.inline
    until = time.monotonic() + 10
    while (left := of_this_test(home)) and time.monotonic() < until:
        time.sleep(0.2)
    assert left == []


def test_the_jobs_of_a_node_that_is_killed_are_done_by_another(private: Private, tmp_path: Path) -> None:
    """The SuperLink takes a minute to miss it: two heartbeats."""
    home, out = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    with deployment(home, [None, None]) as flower:
        threading.Thread(target=kill_after, args=(flower.nodes[1], 2, out), daemon=True).start()
        flower.run(private.scenario, out)
        assert not psutil.pid_exists(flower.nodes[1]) or psutil.Process(flower.nodes[1]).status() == psutil.STATUS_ZOMBIE
    assert outcome(out) == private.inline


def kill_after(process: int, members: int, out: Path) -> None:
    """SIGKILL a SuperNode once so many tunings are in the ledger; the processes that it has started go with it."""
    ledger = out / "ledger.jsonl"
    while not ledger.exists() or ledger.read_text().count('"join"') < members:
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)


def test_a_missing_file_is_named(private: Private, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    gone = private.scenario.with_name("gone.yaml")
    gone.write_text(private.scenario.read_text().replace("all.jsonl", "nobody.jsonl"))
    with deployment(home, [None]) as flower:
        with pytest.raises(RuntimeError, match=r"no file or folder nobody\.jsonl"):
            flower.run(gone, tmp_path / "run")
        with pytest.raises(RuntimeError, match=r"there is no scenario file .*/none\.yaml"):
            flower.run(tmp_path / "none.yaml", tmp_path / "run")


def test_after_an_interrupt_nothing_is_left(private: Private, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.deployment.flower", private.scenario, tmp_path / "run", *private.nodes]
    env = environment(tmp_path) | {"TMPDIR": str(tmp_path)}
    script = subprocess.Popen(command, cwd=PROJECT, env=env, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (tmp_path / "run" / "ledger.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.2)
    os.kill(script.pid, signal.SIGINT)
    script.wait(timeout=60)
    until = time.monotonic() + 10
    while (left := of_this_test(tmp_path)) and time.monotonic() < until:
        time.sleep(0.2)
    assert left == []


def test_a_bundle_holds_no_data(tmp_path: Path) -> None:
    """Code and scenarios; not what lies beside them, however large."""
    project = tmp_path / "project"
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True)
    for name in tracked.stdout.splitlines():
        if (PROJECT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_bytes((PROJECT / name).read_bytes())
    data = [
        f"{folder}/big.{kind}"
        for folder in (".", "data", "runs/a", "scenarios")
        for kind in ("jsonl", "json", "csv", "parquet")
    ]
    for name in data:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(os.urandom(5_000_000))
    subprocess.run(
        ["flwr", "build", "--app", project], cwd=tmp_path, env=environment(tmp_path), check=True, capture_output=True
    )
    (bundle,) = tmp_path.glob("*.fab")
    with zipfile.ZipFile(bundle) as opened:
        names = opened.namelist()
    assert not [name for name in names if "big." in name or name.startswith(("tests/", "runs/", "data/"))]
    assert {"clients/app.py", "sim/flower_app.py", "strategies/registry.py", "scenarios/quickstart.yaml"} <= set(names)
    assert bundle.stat().st_size < 2_000_000
    code = {
        path.relative_to(PROJECT).as_posix()
        for room in ("clients", "strategies", "sim")
        for path in (PROJECT / room).rglob("*.py")
    }
    assert code <= set(names)
