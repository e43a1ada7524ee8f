"""Two processes cannot play one run, and a process that was killed does not hold it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clients.errors import InputError
from sim.life.lock import locked
from sim.run import forget

HOLD = "import sys, time; from pathlib import Path; from sim.life.lock import locked\n"
HOLD += "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"


def test_a_run_that_another_process_plays_is_refused_until_that_process_is_gone(run: Path) -> None:
    before = (run / "ledger.jsonl").read_bytes()
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is at work on this run"):
            forget(run, "u3")
        assert (run / "ledger.jsonl").read_bytes() == before
        other.send_signal(signal.SIGKILL)
    with locked(run):
        pass


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        forget(tmp_path / "nowhere", "u3")
    assert not (tmp_path / "nowhere").exists()
