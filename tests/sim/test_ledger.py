"""The ledger: what is written is read back, and no change goes unseen."""

import json
from pathlib import Path

import pytest

from clients.errors import InputError
from clients.exact import digest
from sim.life.ledger import START, Ledger, read


def written(path: Path, records: int = 4) -> list[str]:
    """Some joins, of which the last is a commit."""
    ledger = Ledger(path)
    for n in range(records - 1):
        ledger.append("join", client=f"u{n}", steps=n)
    ledger.commit(seed=7, files="f")
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
    assert (again.records, again.last) == (4, list(read(path))[2])
    assert again.commits == {7: list(read(path))[3]}
    again.append("end")
    again.commit()
    assert [record["event"] for record in read(path)] == ["join"] * 3 + ["commit", "end", "commit"]
    assert (again.records, again.head) == (6, list(read(path))[-1]["hash"])
    assert again.commits == {7: list(read(path))[3], None: list(read(path))[5]}
    assert again.last == list(read(path))[4]


def test_nothing_is_written_before_it_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append("start")
    assert not path.exists()
    ledger.commit()
    before = path.read_bytes()
    first = ledger.append("join", client="u0")
    ledger.append("join", client="u1")
    assert path.read_bytes() == before
    assert (ledger.records, first["n"]) == (4, 2)  # what waits has its place in the chain already
    ledger.commit()
    assert path.read_bytes().startswith(before)
    assert [(record["n"], record["event"]) for record in read(path)] == [
        (0, "start"), (1, "commit"), (2, "join"), (3, "join"), (4, "commit"),
    ]  # fmt: skip


@pytest.mark.parametrize("torn", [False, True])
def test_what_stands_after_the_last_commit_did_not_happen(
    tmp_path: Path, torn: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two whole lines, perhaps a third that is torn, of a commit that was being written."""
    path = tmp_path / "ledger.jsonl"
    written(path)
    whole = path.read_bytes()
    ledger = Ledger(path)
    ledger.append("request", client="u1")
    ledger.append("forget", client="u1")
    ledger.commit()
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(lines[:6]) + b"\n" + (lines[6][:20] if torn else b""))
    assert [record["n"] for record in read(path)] == [0, 1, 2, 3]
    again = Ledger(path)
    assert path.read_bytes() == whole
    assert "what stands from line 5 on was not written whole; it is cut off" in capsys.readouterr().err
    assert (again.records, again.head) == (4, json.loads(lines[3])["hash"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: [lines[0], lines[1].replace('"steps": 1', '"steps": 9'), *lines[2:]], "line 2: the hash chain"),
        (lambda lines: [lines[0], *lines[2:]], "line 2: the hash chain"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1: the hash chain"),
        (lambda lines: [*lines[:3], lines[3][:-20]], "line 4: not a ledger record"),
        (lambda lines: [*lines, "[]"], "line 5: not a ledger record"),
        (lambda lines: [*lines, "[]", lines[3]], "line 5: not a ledger record"),
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
    ledger = Ledger(path)
    ledger.append("join", client=client)
    ledger.commit()
    assert path.read_bytes().isascii()
    assert path.read_bytes().count(b"\n") == 2
    assert [record.get("client") for record in read(path)] == [client, None]
    assert Ledger(path).head == ledger.head


@pytest.mark.parametrize("kept", [1, 40, 10**6])
def test_a_torn_last_line_did_not_happen(tmp_path: Path, kept: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Cut after some bytes of the last line, a commit, or right before its newline: all of it did not happen."""
    path = tmp_path / "ledger.jsonl"
    lines = written(path)
    path.write_bytes("".join(f"{line}\n" for line in lines[:-1]).encode() + lines[-1].encode()[:kept])
    assert list(read(path)) == []
    ledger = Ledger(path)
    assert path.read_bytes() == b""
    assert "what stands from line 1 on was not written whole; it is cut off" in capsys.readouterr().err
    assert (ledger.records, ledger.head, ledger.last, ledger.commits) == (0, START, None, {})
    ledger.append("start")
    ledger.commit()
    assert [record["event"] for record in read(path)] == ["start", "commit"]


def test_damage_in_the_middle_is_named_by_its_line_and_nothing_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    lines = written(path)
    path.write_bytes(b"\n".join([lines[0].encode(), b"\xff\xfe", *(line.encode() for line in lines[2:])]) + b"\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match="line 2: not a ledger record"):
        Ledger(path)
    assert path.read_bytes() == before


def test_damage_after_the_last_commit_is_an_error_too(tmp_path: Path) -> None:
    """A whole line that is no record was never being written."""
    path = tmp_path / "ledger.jsonl"
    written(path)
    with path.open("ab") as file:
        file.write(b'{"n": 4}\n')
    before = path.read_bytes()
    with pytest.raises(InputError, match="line 5: not a ledger record"):
        Ledger(path)
    assert path.read_bytes() == before
