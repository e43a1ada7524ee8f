"""The files of one seed, changed as a whole: a transaction that ends with a line in the ledger.

What is written since the last commit lies in ``next/``, beside the files that it will take the place of; what is erased is
only noted. A commit is

    1  the new files and ``next/commit.json``, which names them and what is to be erased, are flushed to disk
    2  the ledger's lines are written, the last of which holds the digest of ``commit.json``: from here on it has happened
    3  new files are moved to their places, old ones are erased, ``next/`` is removed

A process that is killed before the second step leaves the last commit; after it, opening the journal does the third step
again. Either way nothing of what was under way is left: opening a journal removes ``next/`` and torn files.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clients.errors import InputError
from sim.life import replies
from sim.life.ledger import Ledger
from strategies.state.store import Store, Within

NEXT, COMMIT = "next", "commit.json"


class Journal:
    """A ``strategies.state.store.Store`` over a folder, in transactions."""

    def __init__(self, folder: Path, ledger: Ledger, seed: int) -> None:
        self.folder, self.ledger, self.seed = folder, ledger, seed
        self._next = folder / NEXT
        self._written: dict[str, tuple[int, str]] = {}
        self._erased: set[str] = set()
        self._recover()
        self._sizes = self._listed()

    # -- the store ------------------------------------------------------------------------------------------------------

    def sizes(self) -> dict[str, int]:
        """Bytes of every file by name, sorted, as they will be after the next commit."""
        there = {name: size for name, size in self._sizes.items() if name not in self._erased}
        return dict(sorted((there | {name: size for name, (size, _) in self._written.items()}).items()))

    def has(self, name: str) -> bool:
        return name in self._written or (name in self._sizes and name not in self._erased)

    def path(self, name: str) -> Path:
        """Where a file lies now, or would lie; one that was erased is not found, though the old one is still there."""
        return (self._next if name in self._written or name in self._erased else self.folder) / name

    def read(self, name: str) -> bytes:
        """A file's content; InputError if it is missing."""
        if name in self._erased:
            raise InputError(f"{self.folder / name}: cannot be read (it was erased)")
        try:
            return self.path(name).read_bytes()
        except OSError as error:
            raise InputError(f"{self.path(name)}: cannot be read ({error})") from error

    def write(self, name: str, content: bytes) -> None:
        target = self._next / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".part")  # whoever has the old one mapped keeps it
        partial.write_bytes(content)
        partial.replace(target)
        self._written[name] = (len(content), hashlib.sha256(content).hexdigest())
        self._erased.discard(name)

    def erase(self, name: str) -> None:
        if self._written.pop(name, None) is not None:
            (self._next / name).unlink(missing_ok=True)
        if name in self._sizes:
            self._erased.add(name)

    def at(self, prefix: str) -> Store:
        """The same store, seen from a folder in it."""
        return Within(self, prefix)

    @contextmanager
    def scratch(self) -> Iterator[str]:
        """A folder that is gone at the end of the block, and is removed with ``next/`` if the process is killed."""
        self._next.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="scratch-", dir=self._next) as folder:
            yield folder

    # -- commits --------------------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Make all that was written, erased and told to the ledger happen; on disk when this returns."""
        told = {
            "write": {name: digest for name, (_, digest) in sorted(self._written.items())},
            "erase": sorted(self._erased - self._written.keys()),
        }
        for name in told["write"]:
            _flush(self._next / name)
        content = json.dumps(told, indent=1).encode()
        self._next.mkdir(parents=True, exist_ok=True)
        (self._next / COMMIT).write_bytes(content)
        _flush(self._next / COMMIT)
        _flush(self._next)
        self.ledger.commit(seed=self.seed, files=hashlib.sha256(content).hexdigest())
        self._apply(told)
        self._sizes = self.sizes()
        self._written, self._erased = {}, set()

    def _recover(self) -> None:
        """Bring the folder to the last commit, whatever a killed process has left."""
        if not self._next.exists():
            return
        last = self.ledger.commits.get(self.seed, {}).get("files")
        content = (self._next / COMMIT).read_bytes() if (self._next / COMMIT).exists() else b""
        if content and hashlib.sha256(content).hexdigest() == last:
            self._apply(json.loads(content))
        shutil.rmtree(self._next, ignore_errors=True)

    def _apply(self, told: dict[str, Any]) -> None:
        """Move and erase what a commit names; doing it twice does no harm."""
        folders = {self.folder}
        for name in told["write"]:
            new, target = self._next / name, self.folder / name
            if new.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                new.replace(target)
                folders.add(target.parent)
        for name in told["erase"]:
            (self.folder / name).unlink(missing_ok=True)
        for name in told["erase"]:
            _remove_empty((self.folder / name).parent, self.folder)
        for folder in folders:
            _flush(folder)
        shutil.rmtree(self._next, ignore_errors=True)

    def _listed(self) -> dict[str, int]:
        """The files that are there; those of which no commit can know are removed."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path.name != replies.NAME:
                if path.name.endswith(".part"):
                    path.unlink()
                else:
                    found[path.relative_to(self.folder).as_posix()] = path.stat().st_size
        return found


def _flush(path: Path) -> None:
    """fsync of a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
