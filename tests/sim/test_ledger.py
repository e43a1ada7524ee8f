"""The ledger: what is written is read back, and no change goes unseen."""

import json
from pathlib import Path

import pytest

from clients.errors import InputError
from clients.exact import digest
from sim.life.ledger import START, Ledger, read


def written(path: Path, records: int = 4) -> list[str]:
    ledger = Ledger(path)
    for n in range(records):
        ledger.append("join", client=f"u{n}", steps=n)
    return path.read_text().splitlines()


def test_each_record_holds_the_hash_of_the_one_before(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in written(tmp_path / "ledger.jsonl")]
    assert [record["previous"] for record in lines] == [START, *(record["hash"] for record in lines[:-1])]
    for record in lines:
        assert record.pop("hash") == digest.of_json(record)


def test_a_ledger_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    written(path)
    again = Ledger(path)
    again.append("end")
    assert [record["event"] for record in read(path)] == ["join"] * 4 + ["end"]
    assert (again.records, again.head) == (5, list(read(path))[-1]["hash"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: [lines[0], lines[1].replace('"steps": 1', '"steps": 9'), *lines[2:]], "line 2: the hash chain"),
        (lambda lines: [lines[0], *lines[2:]], "line 2: the hash chain"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1: the hash chain"),
        (lambda lines: [*lines[:3], lines[3][:-20]], "line 4: not a ledger record"),
        (lambda lines: [*lines, "[]"], "line 5: not a ledger record"),
    ],
)
def test_every_change_is_seen(tmp_path: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "ledger.jsonl"
    path.write_text("\n".join(spoil(written(path))) + "\n")
    with pytest.raises(InputError, match=message):
        list(read(path))
