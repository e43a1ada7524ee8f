"""A process that stays warm: a Flower node starts its app anew for each message, and importing and opening take seconds.

The app passes a message on to a process that an earlier message has started and that holds data and base model open. They
talk over a Unix socket in a folder that only this user can enter; what travels is plain bytes. The warm process ends by
itself: when nobody has asked for a while, when its owner (the node's own process) has gone, or when whoever asked has gone
meanwhile.
"""

import hashlib
import os
import select
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from clients.errors import InputError

Frames = list[bytes]
Answer = Callable[[Frames], Iterator[Frames]]
STARTS_WITHIN = 120.0
"""Seconds in which a warm process has to listen."""
LONGEST = 107
"""Bytes of a Unix socket's path."""
LOOK = 0.5
"""Seconds between two looks whether the other side is still there."""


def place_of(*key: str) -> Path:
    """The socket of the warm process that a key tells from others.

    Raises:
        InputError: the folder of sockets belongs to another user, or its path is too long for a socket.
    """
    folder = Path(tempfile.gettempdir()) / f"unmerge-{os.getuid()}"
    check_sockets(folder, f"{'0' * 16}.{2**22}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise InputError(f"{folder}: belongs to another user or is open to others; set TMPDIR to a folder of your own")
    return folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.sock"


def check_sockets(folder: Path, longest: str) -> None:
    """Raise InputError if a socket of that name in the folder has a path that the system does not take."""
    if len(os.fsencode(folder / longest)) > LONGEST:
        most = LONGEST - len(longest) - 1
        raise InputError(f"{folder}: is too long for the sockets in it (at most {most} bytes); set TMPDIR to a shorter one")


def ask(place: Path, command: Sequence[str], environment: dict[str, str], frames: Frames) -> Iterator[Frames]:
    """What the warm process answers, one by one as it comes; the process is started if none listens.

    Raises:
        EOFError: it died before all was answered, or could not be started.
    """
    with _connect(place, command, environment) as connection:
        try:
            send(connection, frames)
            while answer := receive(connection):
                yield answer
        except OSError as error:
            raise EOFError(str(error)) from error


def serve(place: Path, answer: Answer, owner: int, idle: float) -> None:
    """Answer whoever connects, one at a time, until nobody has for ``idle`` seconds or the owner has gone.

    Args:
        answer: gives the answers to what was asked, each at least one frame.
        owner: id of the process without which this one has no purpose.
    """
    beside = place.with_suffix(f".{os.getpid()}")  # renamed once it listens: whoever finds it can connect
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(beside))
        listener.listen()
        listener.settimeout(LOOK)
        beside.replace(place)
        mine = place.stat().st_ino
        try:
            until = time.monotonic() + idle
            while time.monotonic() < until and is_there(owner) and _still_mine(place, mine):
                try:
                    caller, _ = listener.accept()
                except TimeoutError:
                    continue
                caller.setblocking(True)
                with Connection(caller.detach()) as connection:
                    _converse(connection, answer, owner)
                until = time.monotonic() + idle
        finally:
            if _still_mine(place, mine):
                place.unlink(missing_ok=True)


def _still_mine(place: Path, number: int) -> bool:
    """Whether another process has not taken the place."""
    try:
        return place.stat().st_ino == number
    except FileNotFoundError:
        return False


def is_there(process: int) -> bool:
    """Whether a process of this user exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _converse(connection: Connection, answer: Answer, owner: int) -> None:
    """Take what is asked and send the answers, then an empty one; a caller who goes away ends this process and its work."""
    done = threading.Event()
    try:
        asked = receive(connection)
        threading.Thread(target=_watch, args=(connection, owner, done), daemon=True).start()
        for each in answer(asked):
            send(connection, each)
        send(connection, [])
    except (EOFError, OSError):
        pass
    finally:
        done.set()


def _watch(connection: Connection, owner: int, done: threading.Event) -> None:
    """A caller says nothing while it waits: what can be read is the end of it."""
    while not done.wait(LOOK):
        try:
            gone = bool(select.select([connection], [], [], 0)[0])
        except (OSError, ValueError):  # closed: the conversation is over
            return
        if (gone or not is_there(owner)) and not done.is_set():
            os._exit(1)


def send(connection: Connection, frames: Frames) -> None:
    """Send some frames as one."""
    connection.send_bytes(len(frames).to_bytes(8, "little"))
    for frame in frames:
        connection.send_bytes(frame)


def receive(connection: Connection) -> Frames:
    """What ``send`` has sent."""
    return [connection.recv_bytes() for _ in range(int.from_bytes(connection.recv_bytes(), "little"))]


def _connect(place: Path, command: Sequence[str], environment: dict[str, str]) -> Connection:
    if (connection := _reached(place)) is not None:
        return connection
    place.unlink(missing_ok=True)  # of one that was killed
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    until = time.monotonic() + STARTS_WITHIN
    while (connection := _reached(place)) is None:
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise EOFError(f"it could not be started (exit status {process.wait()})")
        time.sleep(0.05)
    return connection


def _reached(place: Path) -> Connection | None:
    caller = socket.socket(socket.AF_UNIX)
    try:
        caller.connect(str(place))
    except (FileNotFoundError, ConnectionRefusedError):
        caller.close()
        return None
    return Connection(caller.detach())
