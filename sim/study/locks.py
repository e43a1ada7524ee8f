"""Locks by name that processes share, all in one empty file: the system lets go of those of a process that ends.

Each name locks one byte of the file, at the place that its digest says; the file never grows. A process opens it once.
"""

import fcntl
from pathlib import Path
from typing import Self

from clients.exact import digest

DIGITS = 15  # of a digest: places below 2^60, which every file system takes


class Locks:
    """Locks that are held by this process."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+")
        self._held: set[str] = set()

    def take(self, name: str, wait: bool = False) -> bool:
        """Whether the lock is ours now.

        Args:
            wait: until whoever holds it lets go of it.
        """
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, _place(name))
        except (BlockingIOError, PermissionError):  # as the system calls it: both are allowed
            return False
        self._held.add(name)
        return True

    def leave(self, name: str) -> None:
        """Let go of a lock that is ours; nothing where it is not."""
        if name in self._held:
            self._held.remove(name)
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(name))

    def close(self) -> None:
        """Let go of all of them."""
        self._held.clear()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _place(name: str) -> int:
    return int(digest.of_json(name)[:DIGITS], 16)
