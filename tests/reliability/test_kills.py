"""A driver that is killed at any moment: its run goes on to the same end. ``make test-kills``, a few minutes."""

import json
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from child import PHASES, Undisturbed, call, events, finish, outcome, phase_of, reached, start, stop_at, strays

pytestmark = pytest.mark.slow

KILLS = 15
"""Of each kind of run: one seed, two seeds."""


def resumed(run: Path, log: Path, rng: random.Random, lines: int) -> tuple[int, int]:
    """Go on until the end, killed again now and then; how often it was resumed, and the steps that were repeated."""
    times = 0
    while True:
        times += 1
        pid = start(["run", "--resume", str(run)], log)
        if rng.random() < 0.3:
            now = len(events(run))
            if stop_at(pid, run, rng.randint(now, lines), rng.uniform(0, 0.3)) is None:
                break
        else:
            assert stop_at(pid, run, 10**9, 0) is None
            break
    repeated = sum(event["gradient_steps"] for event in events(run) if event["event"] == "repeated")
    return times, repeated


def test_a_driver_that_is_killed_at_any_moment(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Random moments, as many in each phase of the run: most phases are short."""
    phases, rng = Counter[str](), random.Random(f"kills/{undisturbed.lines}")
    total, steps = 0, 0
    wanted = sorted(set(PHASES.values()))
    assert {moment.phase for moment in undisturbed.moments} >= set(wanted)
    for kill in range(KILLS):
        run, log = tmp_path / f"run-{kill}", tmp_path / f"log-{kill}"
        phase = wanted[kill % len(wanted)]
        moment = rng.choice([moment for moment in undisturbed.moments if moment.phase == phase])
        pid = start(["run", str(undisturbed.scenario), "--out", str(run)], log)
        if reached(pid, run, moment.lines, moment.after):
            phases[phase_of(pid, log)] += 1
            os.kill(pid, signal.SIGKILL)
            assert finish(pid) in (0, -signal.SIGKILL)
        else:
            phases["ended"] += 1
        times, repeated = resumed(run, log, rng, undisturbed.lines)
        total, steps = total + times, steps + repeated
        assert "Traceback" not in log.read_text()
        assert outcome(run) == undisturbed.outcome
        assert (run / "report.html").exists()
        assert strays(run) == []
        assert call(["verify", str(run)], log) == 0
    print(f"\n{KILLS} runs killed, {total} resumed; {steps} gradient steps repeated; killed while {dict(phases)}")


def test_an_interrupt_ends_with_a_line_that_says_how_to_go_on(undisturbed: Undisturbed, tmp_path: Path) -> None:
    scenario, expected, lines, _ = undisturbed
    rng = random.Random(f"interrupts/{lines}")
    for number in range(4):
        run, log = tmp_path / f"run-{number}", tmp_path / f"log-{number}"
        pid = start(["run", str(scenario), "--out", str(run)], log)
        code = stop_at(pid, run, round((number + rng.random()) * lines / 5), 0, signal.SIGINT)
        told = log.read_text()
        assert code == 130, told
        assert f"unmerge run --resume {run}" in told
        assert "Traceback" not in told
        assert call(["run", str(scenario), "--out", str(run)], log) == 1  # a new run on it says so as well
        assert f"go on with: unmerge run --resume {run}" in log.read_text()
        assert call(["run", "--resume", str(run)], log) == 0
        assert outcome(run) == expected


def client_of(run: Path) -> str:
    """Somebody who was tuned, and whom no seed has forgotten."""
    gone = {e["client"] for e in events(run) if e["event"] == "request" and e["kind"] == "forget" and not e["examples"]}
    return str(max({e["client"] for e in events(run) if e["event"] == "join"} - gone))


def asked(run: Path) -> int:
    """How many requests by command are written down."""
    return len(json.loads((run / "asked.json").read_text())) if (run / "asked.json").exists() else 0


@pytest.mark.parametrize("command", [["forget", "--client"], ["forget", "--rows", "0,1", "--client"], ["join", "--client"]])
def test_a_command_that_is_killed_is_carried_out_once(undisturbed: Undisturbed, tmp_path: Path, command: list[str]) -> None:
    """Asked again, or by ``run --resume``: the end is that of a command which nobody killed. Who joins was forgotten before,
    by command, since the streams of two seeds forget different clients."""
    name, *options = command
    log = tmp_path / "log"

    def played(folder: str) -> Path:
        run = tmp_path / folder
        assert call(["run", str(undisturbed.scenario), "--out", str(run)], log) == 0
        if name == "join":
            assert call(["forget", str(run), "--client", client_of(run)], log) == 0
        return run

    whole = played("whole")
    client = client_of(undisturbed.scenario.with_name("run"))
    before = len(events(whole))
    assert call([name, str(whole), *options, client], log) == 0
    expected, after = outcome(whole), len(events(whole))
    rng = random.Random(f"{command}/{before}")
    for number in range(3):
        run = played(f"run-{number}")
        pid = start([name, str(run), *options, client], log)
        stop_at(pid, run, before + round((number + rng.random()) * (after - before) / 3), rng.uniform(0, 0.1))
        again = [name, str(run), *options, client] if number % 2 else ["run", "--resume", str(run)]
        if asked(run) == asked(whole):
            call(again, log)
        else:  # killed before it was written down
            assert call([name, str(run), *options, client], log) == 0
        assert "Traceback" not in log.read_text()
        assert outcome(run) == expected
        assert strays(run) == []
        assert call(["verify", str(run)], log) == 0
