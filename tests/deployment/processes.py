"""Processes of a deployment on this machine: started in groups of their own, and gone with all their children at the end."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PROJECT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
"""Where the environment's commands lie."""


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment, with Flower's files under ``home``, this checkout's code and the environment's commands
    first."""
    return os.environ | {
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that its processes are stopped."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def running(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to a file; at the end of the block it and all that it started are gone.

    So they are if this process is killed meanwhile.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        yield process
    finally:
        stop(process)


def _end_with_parent() -> None:
    """Linux sends a process SIGTERM when its parent ends, if it asks for it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def stop(process: subprocess.Popen[bytes], patience: float = 5.0) -> None:
    """End a process and its descendants: asked first, killed if they do not listen."""
    try:
        family = [root := psutil.Process(process.pid), *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        _send(member, psutil.Process.terminate)
    _, alive = psutil.wait_procs(family, timeout=patience)
    for member in alive:
        _send(member, psutil.Process.kill)
    psutil.wait_procs(alive, timeout=patience)
    process.wait()


def _send(process: psutil.Process, what: Callable[[psutil.Process], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        what(process)


def wait_until(
    ready: Callable[[], bool], what: str, log: Path, process: subprocess.Popen[bytes], within: float = 60
) -> None:
    """Wait for a process to be ready; where it ends or takes too long, say so with the end of its output."""
    until = time.monotonic() + within
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{what} did not start; its output ends:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
