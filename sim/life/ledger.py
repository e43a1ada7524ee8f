"""The ledger: one JSON object per line, each holding the hash of the one before, so that no line can be changed unseen."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clients.errors import InputError
from clients.exact import digest

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
            for record in read(path):
                self.records, self.head = self.records + 1, record["hash"]

    def append(self, event: str, **facts: Any) -> dict[str, Any]:
        """Write a record; it is on disk when this returns."""
        record = {"n": self.records, "event": event, **facts, "previous": self.head}
        record["hash"] = digest.of_json(record)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self.records, self.head = self.records + 1, record["hash"]
        return record


def read(path: Path) -> Iterator[dict[str, Any]]:
    """All records, each checked against the chain.

    Raises:
        InputError: the file is missing, or a line is damaged, changed, missing or out of order.
    """
    previous = START
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
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
