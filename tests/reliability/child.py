"""The command ``unmerge`` as a process of its own that can be killed; forked from one that has imported it already."""

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sim import cli
from sim.life.summary import read_rows

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
"""A bit of everything that can happen in a life, on a model of a few thousand parameters."""


def start(arguments: Sequence[str], log: Path) -> int:
    """Start a command; its output goes to a file. Returns the process's number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        sys.argv = ["unmerge", *arguments]
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def finish(pid: int, within: float = 300) -> int:
    """Wait for a process; its exit code, negative the signal that ended it."""
    until = time.monotonic() + within
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise TimeoutError(f"the command did not end in {within:g} s")
        time.sleep(0.01)


def call(arguments: Sequence[str], log: Path, within: float = 300) -> int:
    """Run a command to its end; its exit code."""
    return finish(start(arguments, log), within)


def stop_at(pid: int, run: Path, lines: int, delay: float, how: signal.Signals = signal.SIGKILL) -> int | None:
    """Send a signal some seconds after the ledger of a run has so many lines; None if the process ended before."""
    ledger = run / "ledger.jsonl"
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return None
        if ledger.exists() and ledger.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.002)
    time.sleep(delay)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
    return finish(pid)


def events(run: Path) -> list[dict[str, Any]]:
    """The lines of a ledger, as far as they are whole."""
    *lines, _ = (run / "ledger.jsonl").read_bytes().split(b"\n")
    return [json.loads(line) for line in lines]


def outcome(run: Path) -> dict[str, Any]:
    """What a run has come to, but for times: summary, evaluations, events."""
    summary = json.loads((run / "summary.json").read_text())
    for key in ("seconds", "ledger"):
        del summary[key]
    for strategy in summary["strategies"].values():
        del strategy["seconds"]
    told = [[e["event"], e.get("client"), e.get("rule"), e.get("seed")] for e in events(run)]
    return {
        "summary": summary,
        "rows": read_rows(run),
        "events": [each for each in told if each[0] not in ("commit", "repeated")],
    }


def strays(run: Path) -> list[str]:
    """Files that no finished run has."""
    found = [path for path in run.rglob("*") if path.name in ("next", ".replies", "audit") or ".part" in path.name]
    return [str(path.relative_to(run)) for path in found]
