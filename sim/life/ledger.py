"""The ledger: one JSON object per line, each holding the hash of the one before, so that no line can be changed unseen.

Lines are ASCII, whatever clients are called, and end with a newline. Lines are gathered and written together; the last of
them is a ``commit``, and they are on disk (fsync) when ``commit`` returns. What stands after the last ``commit`` was being
written when the process ended: it did not happen, and is cut off.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clients.errors import InputError
from clients.exact import digest
from sim.terminal import errors

START = "0" * 64
COMMIT = "commit"
PUBLISHED = ("learned", "release")
"""Events that speak of the state of every strategy."""


class Ledger:
    """Append-only record of events with their costs and digests.

    Attributes:
        records: number of lines, with those that are not written yet.
        head: hash of the last of them.
        hashes: of all lines.
        commits: by seed (None: of the run as a whole) the last commit.
        published: by seed the last event that speaks of a state.
        first, last: the first event, and the last one that is no commit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hashes: list[str] = []
        self.commits: dict[int | None, dict[str, Any]] = {}
        self.published: dict[int, dict[str, Any]] = {}
        self.first: dict[str, Any] | None = None
        self.last: dict[str, Any] | None = None
        self._waiting: list[bytes] = []
        if path.exists():
            _cut_off_uncommitted(path)
            for record in read(path):
                self._count(record)

    @property
    def records(self) -> int:
        return len(self.hashes)

    @property
    def head(self) -> str:
        return self.hashes[-1] if self.hashes else START

    def append(self, event: str, **facts: Any) -> dict[str, Any]:
        """Add a record; it is written by the next ``commit``."""
        record = {"n": self.records, "event": event, **facts, "previous": self.head}
        record["hash"] = digest.of_json(record)
        self._waiting.append(json.dumps(record).encode("ascii") + b"\n")
        self._count(record)
        return record

    def commit(self, **facts: Any) -> None:
        """Write what was added, and that it is complete; all of it is on disk when this returns."""
        self.append(COMMIT, **facts)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(b"".join(self._waiting))
            file.flush()
            os.fsync(file.fileno())
        self._waiting = []

    def _count(self, record: dict[str, Any]) -> None:
        self.hashes.append(record["hash"])
        self.first = self.first or record
        if record["event"] in PUBLISHED:
            self.published[record["seed"]] = record
        if record["event"] == COMMIT:
            self.commits[record.get("seed")] = record
        else:
            self.last = record


def read(path: Path) -> Iterator[dict[str, Any]]:
    """All committed records, each checked against the chain; what stands after the last commit is passed over.

    Raises:
        InputError: the file is missing, or a line is damaged, changed, missing or out of order.
    """
    previous = START
    waiting = []
    for number, line in enumerate(_whole_lines(path)):
        record = _record(path, number, line)
        if record["previous"] != previous or record["n"] != number:
            raise _broken(path, number)
        previous = record["hash"]
        waiting.append(record)
        if record["event"] == COMMIT:
            yield from waiting
            waiting = []


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(line)
        stated, honest = record["hash"], digest.of_json({key: value for key, value in record.items() if key != "hash"})
        known = {"n", "event", "previous"} <= record.keys()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}, line {number + 1}: not a ledger record; the file is damaged") from error
    if stated != honest or not known:
        raise _broken(path, number)
    return record


def _broken(path: Path, number: int) -> InputError:
    return InputError(f"{path}, line {number + 1}: the hash chain is broken; the file was changed after it was written")


def _whole_lines(path: Path) -> list[bytes]:
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    return lines


def _cut_off_uncommitted(path: Path) -> None:
    """Cut the file after its last commit; a damaged line before it is found later, by ``read``."""
    lines = _whole_lines(path)
    committed = next((n for n in range(len(lines), 0, -1) if _is_commit(lines[n - 1])), 0)
    size, whole = path.stat().st_size, sum(len(line) + 1 for line in lines[:committed])
    if whole == size:
        return
    for number, line in enumerate(lines[committed:], committed):
        _record(path, number, line)  # a line that was written whole is a record, or the file is damaged
    os.truncate(path, whole)
    errors.print(
        f"{path}: what stands from line {committed + 1} on was not written whole; it is cut off",
        soft_wrap=True,
        highlight=False,
    )


def _is_commit(line: bytes) -> bool:
    try:
        record = json.loads(line)
        return isinstance(record, dict) and record.get("event") == COMMIT
    except ValueError:
        return False
