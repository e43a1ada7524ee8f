"""A small process that speaks for this one where Ray's library ends it: it does so, in words of its own, if a call meets a
raylet that is dead. No handler runs then, so somebody else has to say what happened and what helps."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SCRIPT = """
import os, select, sys
raylet = int(sys.argv[1])
ended, _, _ = select.select([0, raylet], [], [])
if raylet in ended and not os.read(0, 1):
    sys.stderr.write(sys.argv[2])
"""
"""Which of the two ended first tells why: a raylet ends with the process that started it."""


@contextmanager
def witness(raylet: int, message: str) -> Iterator[None]:
    """The message goes to stderr if this process ends inside the block, and the raylet ended before it.

    Args:
        raylet: its process id. Only Linux can wait for a process that is no child; elsewhere nobody speaks.
    """
    if sys.platform != "linux":
        yield
        return
    handle = os.pidfd_open(raylet)
    command = [sys.executable, "-I", "-S", "-c", SCRIPT, str(handle), message]
    # Ctrl-C is not for it, so it has a session of its own.
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[handle], start_new_session=True) as other:
        os.close(handle)
        assert other.stdin is not None
        try:
            yield
        finally:
            other.communicate(b".")  # a farewell, whatever has become of Ray
