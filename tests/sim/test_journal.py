"""The journal: a store in transactions; a process that is killed at any moment leaves the old state or the new one."""

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.errors import InputError
from sim.life.journal import Journal
from sim.life.ledger import Ledger, read

Content = dict[str, bytes]


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def killed_after(operations: int) -> Iterator[list[str]]:
    """Let so many operations on files be done, and none after; whole files may be written in part. Yields those done."""
    done: list[str] = []

    def counted(name: str, real: Callable[..., Any], torn: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def operation(*arguments: Any, **named: Any) -> Any:
            if len(done) == operations:
                if torn is not None:
                    torn(*arguments)
                raise Killed
            done.append(name)
            return real(*arguments, **named)

        return operation

    write = Path.write_bytes
    with pytest.MonkeyPatch.context() as patch:
        for name in ("unlink", "rmdir", "replace", "mkdir"):
            patch.setattr(os, name, counted(name, getattr(os, name)))
        patch.setattr(os, "fsync", counted("fsync", lambda handle: None))
        patch.setattr(Path, "write_bytes", counted("write", write, lambda path, content: write(path, content[::2])))
        yield done


def opened(run: Path) -> Journal:
    return Journal(run / "state" / "7", Ledger(run / "ledger.jsonl"), 7)


def content(journal: Journal) -> Content:
    """Everything that is in a journal; sizes and paths agree with it."""
    found = {name: journal.read(name) for name in journal.sizes()}
    assert journal.sizes() == {name: len(found[name]) for name in sorted(found)}
    assert all(journal.has(name) and journal.path(name).read_bytes() == found[name] for name in found)
    return found


def on_disk(run: Path) -> Content:
    folder = run / "state" / "7"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


OLD: Content = {"sum": b"old sum", "clients/masks/a.bits": b"a", "clients/masks/b.bits": b"b"}
NEW: Content = {"sum": b"new sum", "clients/masks/b.bits": b"b", "merged": b"merged"}


def first(run: Path) -> Journal:
    """A journal with a committed state."""
    journal = opened(run)
    for name, value in OLD.items():
        journal.write(name, value)
    journal.commit()
    assert on_disk(run) == OLD
    return journal


def change(journal: Journal) -> None:
    """What makes the old state the new one; something is written and taken back on the way."""
    journal.write("sum", b"something else")
    journal.write("sum", NEW["sum"])
    journal.erase("clients/masks/a.bits")
    journal.write("clients/vectors/c", b"c")
    journal.erase("clients/vectors/c")
    journal.write("merged", NEW["merged"])


def test_what_is_written_is_read_before_it_is_committed_and_lies_beside_the_old(tmp_path: Path) -> None:
    journal = first(tmp_path)
    change(journal)
    assert content(journal) == NEW
    folder = tmp_path / "state" / "7"
    assert {name: (folder / name).read_bytes() for name in OLD} == OLD
    assert not journal.has("clients/masks/a.bits")
    with pytest.raises(InputError, match=r"masks/a\.bits: cannot be read \(it was erased\)"):
        journal.read("clients/masks/a.bits")
    with pytest.raises(InputError, match="nowhere: cannot be read"):
        journal.read("nowhere")
    journal.commit()
    assert content(journal) == on_disk(tmp_path) == NEW
    assert not (folder / "next").exists()
    assert content(opened(tmp_path)) == NEW


def test_an_erased_file_may_be_written_again(tmp_path: Path) -> None:
    journal = first(tmp_path)
    journal.erase("sum")
    journal.write("sum", b"again")
    assert content(journal) == OLD | {"sum": b"again"}
    journal.commit()
    assert on_disk(tmp_path) == OLD | {"sum": b"again"}


def test_a_part_of_a_journal_is_a_store_of_its_own_names(tmp_path: Path) -> None:
    journal = first(tmp_path)
    masks = journal.at("clients").at("masks")
    assert masks.sizes() == {"a.bits": 1, "b.bits": 1}
    masks.write("c.bits", b"ccc")
    masks.erase("a.bits")
    assert masks.sizes() == {"b.bits": 1, "c.bits": 3}
    assert (masks.read("c.bits"), masks.has("a.bits"), masks.path("b.bits")) == (
        b"ccc",
        False,
        tmp_path / "state/7/clients/masks/b.bits",
    )
    journal.commit()
    assert on_disk(tmp_path) == {"sum": b"old sum", "clients/masks/b.bits": b"b", "clients/masks/c.bits": b"ccc"}


def test_the_last_file_of_a_folder_takes_the_folder_with_it(tmp_path: Path) -> None:
    journal = first(tmp_path)
    journal.erase("clients/masks/a.bits")
    journal.erase("clients/masks/b.bits")
    journal.commit()
    assert [path.name for path in (tmp_path / "state" / "7").iterdir()] == ["sum"]


def test_a_commit_is_a_line_of_the_ledger_after_what_was_told_to_it(tmp_path: Path) -> None:
    journal = first(tmp_path)
    journal.ledger.append("forget", client="a")
    change(journal)
    journal.commit()
    told = list(read(tmp_path / "ledger.jsonl"))
    assert [(line["event"], line.get("seed")) for line in told] == [("commit", 7), ("forget", None), ("commit", 7)]
    assert len({line["files"] for line in told if line["event"] == "commit"}) == 2


@pytest.mark.parametrize("recovering", [1, 4, 99])
def test_a_kill_between_any_two_operations_leaves_the_old_state_or_the_new_one(tmp_path: Path, recovering: int) -> None:
    """And a kill while it is opened again, after so many operations, changes nothing. The ledger tells which it is."""
    seen = []
    for operations in itertools.count():
        run = tmp_path / str(operations)
        journal = first(run)
        with killed_after(operations) as done:
            try:
                change(journal)
                journal.commit()
            except Killed:
                pass
        ended = len(done) < operations  # nothing was left to kill
        with killed_after(recovering), suppress(Killed):
            opened(run)
        again = opened(run)
        commits = [line for line in read(run / "ledger.jsonl") if line["event"] == "commit"]
        expected = [OLD, NEW][len(commits) - 1]
        assert content(again) == on_disk(run) == expected, operations
        assert not (run / "state/7/next").exists()
        seen.append(expected == NEW)
        if ended:
            break
    assert seen == sorted(seen)  # from some moment on it has happened, and not before
    assert seen.count(False) > 10
    assert seen.count(True) > 5


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    journal = first(tmp_path)
    with journal.scratch() as scratch:
        (Path(scratch) / "vector").write_bytes(b"of someone")
        change(journal)
        folder = tmp_path / "state" / "7"
        assert Path(scratch).is_relative_to(folder / "next")
        (folder / ".sum123.part").write_bytes(b"to")
        (folder / "clients" / "x.part").write_bytes(b"rn")
        again = opened(tmp_path)  # as another process would after a kill
        assert content(again) == on_disk(tmp_path) == OLD


def test_scratch_is_gone_at_the_end(tmp_path: Path) -> None:
    journal = first(tmp_path)
    with journal.scratch() as scratch:
        (Path(scratch) / "vector").write_bytes(b"of someone")
    assert not Path(scratch).exists()
    journal.commit()
    assert on_disk(tmp_path) == OLD


def test_seeds_share_a_ledger_and_no_commit(tmp_path: Path) -> None:
    """Each seed looks for its own last commit, whatever has happened to the other since."""
    journal = first(tmp_path)
    other = Journal(tmp_path / "state" / "8", journal.ledger, 8)
    other.write("sum", b"eight")
    change(journal)
    with killed_after(1000) as done:  # seven is killed right after its line of the ledger
        other.commit()
        written = Ledger.commit

        def and_die(ledger: Ledger, **facts: Any) -> None:
            written(ledger, **facts)
            raise Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ledger, "commit", and_die)
            with pytest.raises(Killed):
                journal.commit()
    assert "fsync" in done
    later = Ledger(tmp_path / "ledger.jsonl")
    eight = Journal(tmp_path / "state" / "8", later, 8)
    eight.write("sum", b"ninth")
    eight.commit()
    assert content(opened(tmp_path)) == on_disk(tmp_path) == NEW
    assert content(Journal(tmp_path / "state" / "8", Ledger(tmp_path / "ledger.jsonl"), 8)) == {"sum": b"ninth"}


NAMES = ["sum", "clients/a", "clients/b", "clients/deep/c"]
ACTS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.binary(max_size=5)),
    st.tuples(st.just("erase"), st.sampled_from(NAMES), st.just(b"")),
    st.tuples(st.just("commit"), st.just(""), st.just(b"")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTS, max_size=12), st.integers(0, 60))
def test_any_transactions_cut_anywhere(acts: list[tuple[str, str, bytes]], operations: int) -> None:
    """Against a plain dict: after a kill there is what stood at the last commit of the ledger."""
    with tempfile.TemporaryDirectory() as folder:
        run, now = Path(folder), Content()
        commits: list[Content] = [{}]
        journal = opened(run)
        with killed_after(operations):
            try:
                for act, name, value in acts:
                    if act == "write":
                        journal.write(name, value)
                        now[name] = value
                    elif act == "erase":
                        journal.erase(name)
                        now.pop(name, None)
                    else:
                        commits.append(dict(now))
                        journal.commit()
            except Killed:
                pass
            else:
                assert content(journal) == now
        again = opened(run)
        committed = again.ledger.records
        assert committed in (len(commits) - 1, len(commits) - 2)
        assert content(again) == on_disk(run) == commits[committed]
