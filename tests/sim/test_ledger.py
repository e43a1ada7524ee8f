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


@pytest.mark.parametrize("client", ["\u2028", "a\u0085b", "名前", "\x1e\x0b", 'a"\\b\n'])
def test_a_line_stays_a_line_whatever_a_client_is_called(tmp_path: Path, client: str) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).append("join", client=client)
    Ledger(path).append("end")
    assert path.read_bytes().isascii()
    assert path.read_bytes().count(b"\n") == 2
    assert [record.get("client") for record in read(path)] == [client, None]


@pytest.mark.parametrize("kept", [1, 40, 10**6])
def test_a_torn_last_line_did_not_happen(tmp_path: Path, kept: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Cut after some bytes of the last line, or right before its newline."""
    path = tmp_path / "ledger.jsonl"
    lines = written(path)
    whole = "".join(f"{line}\n" for line in lines[:-1]).encode()
    path.write_bytes(whole + lines[-1].encode()[:kept])
    assert [record["n"] for record in read(path)] == [0, 1, 2]
    ledger = Ledger(path)
    assert path.read_bytes() == whole
    assert "line 4 was not written whole; it is cut off" in capsys.readouterr().err
    assert (ledger.records, ledger.head) == (3, json.loads(lines[2])["hash"])
    ledger.append("end")
    assert [record["event"] for record in read(path)] == ["join"] * 3 + ["end"]


def test_damage_in_the_middle_is_named_by_its_line_and_nothing_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    lines = written(path)
    path.write_bytes(b"\n".join([lines[0].encode(), b"\xff\xfe", *(line.encode() for line in lines[2:])]) + b"\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match="line 2: not a ledger record"):
        Ledger(path)
    assert path.read_bytes() == before
