"""A process that stays warm: it answers, is started when there is none, and goes when nobody needs it."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import warm
from clients.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
ANSWER = """
import os, sys, time
from pathlib import Path
from clients import warm

def answer(frames):
    for frame in frames:
        if frame == b"die":
            os._exit(9)
        if frame == b"sleep":
            time.sleep(60)
        yield [frame.upper(), str(os.getpid()).encode()]

warm.serve(Path(sys.argv[1]), answer, int(sys.argv[2]), float(sys.argv[3]))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path is short
        yield Path(folder) / "w.sock"


def ask(place: Path, *frames: bytes, owner: int | None = None, idle: float = 60) -> list[warm.Frames]:
    command = [sys.executable, "-c", ANSWER, str(place), str(owner or os.getpid()), str(idle)]
    return list(warm.ask(place, command, os.environ | {"PYTHONPATH": str(ROOT)}, list(frames)))


def process_of(answers: list[warm.Frames]) -> int:
    return int(answers[0][1])


def gone(process: int, within: float = 10) -> bool:
    """Whether a child of this process ends in time."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        if os.waitpid(process, os.WNOHANG) != (0, 0):
            return True
        time.sleep(0.05)
    return False


def test_one_process_answers_all(place: Path) -> None:
    large = os.urandom(3_000_000).hex().encode()
    first = ask(place, b"a", b"", large)
    assert [answer[0] for answer in first] == [b"A", b"", large.upper()]
    assert process_of(ask(place, b"b")) == process_of(first)
    os.kill(process_of(first), signal.SIGKILL)
    assert gone(process_of(first))
    again = process_of(ask(place, b"c"))
    assert again != process_of(first)
    os.kill(again, signal.SIGTERM)
    assert gone(again)


def test_what_was_answered_before_it_died_is_kept(place: Path) -> None:
    found = []
    command = [sys.executable, "-c", ANSWER, str(place), str(os.getpid()), "60"]
    answers = warm.ask(place, command, os.environ | {"PYTHONPATH": str(ROOT)}, [b"a", b"die", b"b"])
    with pytest.raises(EOFError):
        found.extend(iter(answers))  # a list keeps what came before the error
    assert [answer[0] for answer in found] == [b"A"]


def test_it_goes_when_nobody_asks(place: Path) -> None:
    process = process_of(ask(place, b"a", idle=0.5))
    assert gone(process)
    assert not place.exists()


def test_it_goes_with_its_owner(place: Path) -> None:
    owner = subprocess.Popen(["sleep", "60"])
    process = process_of(ask(place, b"a", owner=owner.pid))
    owner.kill()
    owner.wait()
    assert gone(process)


def test_it_goes_with_whoever_asks(place: Path) -> None:
    process = process_of(ask(place, b"a"))
    connection = warm._reached(place)
    assert connection is not None
    warm.send(connection, [b"sleep"])
    connection.close()
    assert gone(process)


def test_one_that_cannot_start_is_an_error(place: Path) -> None:
    with pytest.raises(EOFError, match=r"could not be started \(exit status 3\)"):
        list(warm.ask(place, [sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ), [b"a"]))


def test_sockets_lie_where_only_this_user_comes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = warm.place_of("a", "b")
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert place == warm.place_of("a", "b")
    assert place != warm.place_of("ab", "")
    place.parent.chmod(0o755)
    with pytest.raises(InputError, match="open to others"):
        warm.place_of("a", "b")
