"""The ledger: one JSON object per line, each holding the hash of the one before, so that no line can be changed unseen.

Lines are ASCII, whatever clients are called, and end with a newline. Every line is flushed to disk before the run goes on. A
last line without its newline was being written when the process ended: it did not happen, and is cut off.
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


class Ledger:
    """Append-only record of joins, requests, deletions, releases and audits with their costs.

    Attributes:
        records: number of lines.
        head: hash of the last line.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.records, self.head = path, 0, START
        if path.exists():
            _cut_off_torn_line(path)
            for record in read(path):
                self.records, self.head = self.records + 1, record["hash"]

    def append(self, event: str, **facts: Any) -> dict[str, Any]:
        """Write a record; it is on disk when this returns."""
        record = {"n": self.records, "event": event, **facts, "previous": self.head}
        record["hash"] = digest.of_json(record)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(json.dumps(record).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.records, self.head = self.records + 1, record["hash"]
        return record


def read(path: Path) -> Iterator[dict[str, Any]]:
    """All whole records, each checked against the chain; a torn last line is passed over.

    Raises:
        InputError: the file is missing, or a line is damaged, changed, missing or out of order.
    """
    previous = START
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines):
        try:
            record = json.loads(line)
            stated = record["hash"]
            honest = digest.of_json({key: value for key, value in record.items() if key != "hash"})
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}, line {number + 1}: not a ledger record; the file is damaged") from error
        if stated != honest or record.get("previous") != previous or record.get("n") != number:
            raise InputError(
                f"{path}, line {number + 1}: the hash chain is broken; the file was changed after it was written"
            )
        previous = stated
        yield record


def _cut_off_torn_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
        number = content.count(b"\n") + 1
        errors.print(f"{path}: line {number} was not written whole; it is cut off", soft_wrap=True)
