"""The command ``unmerge`` as a process of its own that can be killed; forked from one that has imported it already."""

import contextlib
import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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

PHASES = {
    "_finish": "reporting",
    "audited": "auditing",
    "evaluate": "evaluating",
    "join_all": "learning",
    "localize": "localizing",
    "_take_out": "deleting",
    "_join": "joining",
    "carry_out": "releasing",
}
"""What a run is at, by the functions that are running; the first of these that is counts."""


class Moment(NamedTuple):
    """A moment of an undisturbed run: what it was at, so many seconds after its ledger had so many lines."""

    phase: str
    lines: int
    after: float


class Undisturbed(NamedTuple):
    """A scenario file, what its undisturbed run comes to, how many lines that run's ledger has, and moments of it."""

    scenario: Path
    outcome: dict[str, Any]
    lines: int
    moments: list[Moment]


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
        faulthandler.register(signal.SIGUSR1, _stacks(log).open("w"), all_threads=False)
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


def _stacks(log: Path) -> Path:
    """Where a process writes its stack when it is asked; beside its output."""
    return log.with_name(f"{log.name}-stacks")


def phase_of(pid: int, log: Path) -> str:
    """What a run is at just now, by its stack; a process that has ended is at nothing."""
    stacks, until = _stacks(log), time.monotonic() + 0.2
    before = stacks.stat().st_size if stacks.exists() else 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGUSR1)
    while not stacks.exists() or stacks.stat().st_size == before:
        if time.monotonic() > until:
            return "ending"
        time.sleep(0.0005)
    running = {line.rpartition(" in ")[2] for line in stacks.read_text()[before:].splitlines()}
    return next((phase for function, phase in PHASES.items() if function in running), "opening")


def moments(pid: int, run: Path, log: Path) -> list[Moment]:
    """Where a run stands, looked at again and again until it ends."""
    ledger, found = run / "ledger.jsonl", list[Moment]()
    lines, since = 0, time.monotonic()
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if ledger.exists() and (now := ledger.read_bytes().count(b"\n")) != lines:
            lines, since = now, time.monotonic()
        if lines:
            found.append(Moment(phase_of(pid, log), lines, time.monotonic() - since))
        time.sleep(0.003)
    assert os.waitstatus_to_exitcode(done[1]) == 0, log.read_text()
    return found


def stop_at(pid: int, run: Path, lines: int, delay: float, how: signal.Signals = signal.SIGKILL) -> int | None:
    """Send a signal some seconds after the ledger of a run has so many lines; None if the process ended before."""
    return finish(pid) if reached(pid, run, lines, delay) and _sent(pid, how) else None


def _sent(pid: int, how: signal.Signals) -> bool:
    os.kill(pid, how)  # not waited for yet: its number is still its own
    return True


def reached(pid: int, run: Path, lines: int, delay: float) -> bool:
    """Wait until some seconds after the ledger of a run has so many lines; False if the process ended before, well."""
    ledger = run / "ledger.jsonl"
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return False
        if ledger.exists() and ledger.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.002)
    time.sleep(delay)
    return True


def events(run: Path) -> list[dict[str, Any]]:
    """The lines of a ledger, as far as they are whole."""
    *lines, _ = (run / "ledger.jsonl").read_bytes().split(b"\n")
    return [json.loads(line) for line in lines]


def outcome(run: Path) -> dict[str, Any]:
    """What a run has come to, but for times: summary, evaluations, events."""
    summary = json.loads((run / "summary.json").read_text())
    for key in ("seconds", "ledger"):
        del summary[key]
    del summary["times"]["published"]
    for strategy in summary["strategies"].values():
        for key in ("seconds", "time_to_forget", "backlog", "utilisation"):
            del strategy[key]
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
