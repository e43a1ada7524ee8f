"""One process at a time may play a run."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clients.errors import InputError

NAME = ".lock"


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run folder; the system lets go of it when the process ends, however it ends.

    Raises:
        InputError: another process holds it, or there is no such folder that can be written to.
    """
    try:
        file = (run / NAME).open("a")
    except OSError as error:
        raise InputError(f"{run}: not a run folder that can be written to ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{run}: another process is at work on this run; wait for it, or stop it") from error
        yield
