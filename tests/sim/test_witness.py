"""Who speaks for a process that Ray's library ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from sim.workers.witness import witness

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can wait for a process that is no child")

END = """
import os, subprocess, sys
from sim.workers.witness import witness
raylet = subprocess.Popen(["sleep", "60"], stdout=-3, stderr=-3)
with witness(raylet.pid, "it has ended"):
    if sys.argv[1] == "raylet first":
        raylet.kill()
        raylet.wait()
    print(raylet.pid, flush=True)
    os._exit(1)
"""


@pytest.mark.parametrize(("which", "told"), [("raylet first", b"it has ended"), ("this process first", b"")])
def test_a_process_that_is_ended_after_its_raylet_is_spoken_for(which: str, told: bytes) -> None:
    """Its error output ends when the witness has ended."""
    process = subprocess.Popen([sys.executable, "-c", END, which], cwd=ROOT, stdout=-1, stderr=-1)
    assert process.stdout is not None
    assert process.stderr is not None
    raylet = process.stdout.readline().decode().strip()
    assert process.wait() == 1
    try:
        assert process.stderr.read() == told
    finally:
        subprocess.run(["kill", raylet], check=False, capture_output=True)
    process.communicate()


def test_nothing_is_said_where_the_block_has_ended(capfd: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen(["sleep", "60"]) as raylet:
        with witness(raylet.pid, "it has ended"):
            raylet.kill()
            raylet.wait()
        assert capfd.readouterr().err == ""
