"""Replies since the last commit: given again bit for bit, whatever is left of their file when a process was killed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.data.source import ShardRef
from clients.jobs import Job, Reply
from sim.life.cost import Cost
from sim.life.replies import NAME, Remembering, Replies

COUNTED = {"gradient_steps": 3, "parallel_steps": 2, "client_tunings": 1, "evaluations": 4, "seconds": 0.25}
ARRAYS: dict[str, np.ndarray] = {
    "sum": np.array([2**62, -1, 0], dtype=np.int64),
    "mask": np.array([255, 10, 0], dtype=np.uint8),  # 10 is a newline
    "vector": np.array([[0.1, -0.0], [np.nan, np.inf]], dtype=np.float32),
    "score": np.array(0.1, dtype=np.float64),
    "none": np.empty((2, 0)),
}


def job(client: str, **facts: Any) -> Job:
    return Job("tune", (client,), {"rule": "plain", **facts})


def same(one: Reply, other: Reply) -> bool:
    """Equal to the last bit, types and shapes too."""
    assert (one.clients, one.facts, one.error) == (other.clients, other.facts, other.error)
    assert list(one.arrays) == list(other.arrays)
    for name, array in one.arrays.items():
        found = other.arrays[name]
        assert (array.dtype, array.shape, array.tobytes()) == (found.dtype, found.shape, found.tobytes())
    return True


class Counted:
    """Workers who answer with the number of the asking, and may be killed after so many replies."""

    def __init__(self, dies_after: int = 10**6, fails: tuple[str, ...] = ()) -> None:
        self.done: list[Job] = []
        self.dies_after, self.fails = dies_after, fails

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        for index, each in enumerate(jobs):
            if len(self.done) == self.dies_after:
                raise KeyboardInterrupt
            self.done.append(each)
            if each.clients[0] in self.fails:
                yield index, Reply(each.clients, error="lost")
                continue
            arrays = {"vector": np.full(3, len(self.done), dtype=np.float32)}
            yield index, Reply(each.clients, COUNTED | {"text": "名\n"}, arrays)


def remembering(folder: Path, workers: Counted, commit: str = "c", whole: bool = True, **refs: ShardRef) -> Remembering:
    return Remembering(workers, Replies(folder, commit), refs, whole)


def asked(workers: Remembering, jobs: list[Job]) -> list[Reply]:
    """Replies in the order of the jobs, each of which is answered once."""
    found = dict(workers.run(jobs))
    assert sorted(found) == list(range(len(jobs)))
    return [found[index] for index in range(len(jobs))]


def test_a_reply_is_given_again_bit_for_bit(tmp_path: Path) -> None:
    replies = Replies(tmp_path, "c")
    right = Reply(("u1", "名\n前"), COUNTED | {"scores": [[0.1, None], []]}, ARRAYS)
    place, nothing = replies.find(job("u1"))
    assert nothing is None
    replies.add(place, right, whole=True)
    replies.add(replies.find(job("u2"))[0], Reply(("u2",), COUNTED), whole=True)
    again = Replies(tmp_path, "c")
    found = again.find(job("u1"))[1]
    assert found is not None
    assert same(found, right)
    second = again.find(job("u2"))[1]
    assert second is not None
    assert same(second, Reply(("u2",), COUNTED))
    assert again.find(job("u3"))[1] is None
    assert again.repeated == Cost()


def test_who_goes_on_asks_only_for_what_is_not_there(tmp_path: Path) -> None:
    """Killed after three of five, then after one more; in all, each job is done once."""
    jobs = [job(f"u{i}") for i in range(5)]
    undisturbed = asked(remembering(tmp_path / "other", Counted()), jobs)
    done: list[str] = []
    for dies_after in (3, 1):
        workers = Counted(dies_after)
        with pytest.raises(KeyboardInterrupt):
            asked(remembering(tmp_path, workers), jobs)
        done += [each.clients[0] for each in workers.done]
    last = Counted()
    found = asked(remembering(tmp_path, last), jobs)
    assert done + [each.clients[0] for each in last.done] == [f"u{i}" for i in range(5)]
    assert [reply.clients for reply in found] == [reply.clients for reply in undisturbed]
    assert [reply.arrays["vector"][0] for reply in found] == [1, 2, 3, 1, 1]  # the first three of the first process


@pytest.mark.parametrize("kept", [1, 5, 40, 200, -1])
def test_a_torn_tail_is_cut_off_and_what_follows_it_is_whole(tmp_path: Path, kept: int) -> None:
    """The second reply was being written, up to some byte, or up to its last one."""
    jobs = [job("u0"), job("u1"), job("u2")]
    path = tmp_path / NAME
    asked(remembering(tmp_path, Counted()), jobs[:1])
    one = path.read_bytes()
    asked(remembering(tmp_path, Counted()), jobs[:2])
    two = path.read_bytes()
    assert two.startswith(one)
    path.write_bytes(two[: len(one) + kept] if kept > 0 else two[:kept])
    again = Counted()
    found = asked(remembering(tmp_path, again), jobs)
    assert [each.clients for each in again.done] == [("u1",), ("u2",)]
    later = Counted()
    for one_, other in zip(asked(remembering(tmp_path, later), jobs), found, strict=True):
        assert same(one_, other)
    assert later.done == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"commit": "c"', b'{"commi": "c"}\n', b"\xff\xfe\n"])
def test_a_file_without_its_first_line_is_deleted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    workers = Counted()
    assert len(asked(remembering(tmp_path, workers), [job("u0")])) == len(workers.done) == 1
    again = Counted()
    asked(remembering(tmp_path, again), [job("u0")])
    assert again.done == []


def test_replies_of_another_commit_are_dropped(tmp_path: Path) -> None:
    asked(remembering(tmp_path, Counted(), "before"), [job("u0")])
    Replies(tmp_path, "after")
    assert not (tmp_path / NAME).exists()
    workers = Counted()
    asked(remembering(tmp_path, workers, "after"), [job("u0")])
    assert len(workers.done) == 1


def test_a_commit_forgets_everything(tmp_path: Path) -> None:
    replies, workers = Replies(tmp_path, "one"), Counted()
    asked(Remembering(workers, replies, {}, True), [job("u0")])
    replies.begin("two")
    assert not (tmp_path / NAME).exists()
    asked(Remembering(workers, replies, {}, True), [job("u0")])
    assert len(workers.done) == 2
    found = Replies(tmp_path, "two").find(job("u0"))[1]
    assert found is not None
    assert found.arrays["vector"][0] == 2


def test_the_same_job_asked_again_gets_the_next_reply(tmp_path: Path) -> None:
    jobs = [job("u0"), job("u1"), job("u0"), job("u0")]
    right = [reply.arrays["vector"][0] for reply in asked(remembering(tmp_path, Counted()), jobs)]
    assert right == [1, 2, 3, 4]
    workers = Counted()
    one_after_another = remembering(tmp_path, workers)
    assert [asked(one_after_another, [each])[0].arrays["vector"][0] for each in jobs] == right
    assert workers.done == []
    asked(one_after_another, jobs[:1])  # a fourth time
    assert len(workers.done) == 1


def test_jobs_that_differ_in_anything_are_told_apart(tmp_path: Path) -> None:
    first = job("u0")
    others = [
        job("u1"),
        job("u0", steps=3),
        replace(first, kind="score"),
        replace(first, shared=("merged",)),
        replace(first, refs={"u0": ShardRef(client="u0", without=frozenset({"k"}))}),
    ]
    asked(remembering(tmp_path, Counted()), [first])
    workers = Counted()
    asked(remembering(tmp_path, workers), others)
    assert len(workers.done) == len(others)


def test_names_that_stand_for_parts_of_shards_travel_with_the_job(tmp_path: Path) -> None:
    part, other = ShardRef(client="u0", without=frozenset({"k"})), ShardRef(client="u0", only=frozenset({"k"}))
    workers = Counted()
    told = remembering(tmp_path, workers, u0=part, u9=part)
    asked(told, [job("u0"), job("u1"), replace(job("u0"), refs={"u0": other})])
    assert [dict(each.refs) for each in workers.done] == [{"u0": part}, {}, {"u0": other}]  # a job's own come first


def test_an_error_is_no_reply_to_be_remembered(tmp_path: Path) -> None:
    jobs = [job("u0"), job("u1")]
    assert [reply.error for reply in asked(remembering(tmp_path, Counted(fails=("u0",))), jobs)] == ["lost", None]
    workers = Counted()
    assert [reply.error for reply in asked(remembering(tmp_path, workers), jobs)] == [None, None]
    assert [each.clients for each in workers.done] == [("u0",)]


def test_of_learning_only_the_cost_is_written_down_and_it_adds_up(tmp_path: Path) -> None:
    """Two replies by one process, one by the next: what they cost was for nothing, and nothing is given again."""
    jobs = [job("u0"), job("u1")]
    asked(remembering(tmp_path, Counted(), whole=False), jobs)
    size = (tmp_path / NAME).stat().st_size
    assert size < 700
    workers = Counted()
    again = remembering(tmp_path, workers, whole=False)
    assert again.replies.repeated == Cost(6, 4, 2, 8, 0.5)
    asked(again, jobs[:1])
    assert len(workers.done) == 1
    assert again.replies.repeated == Cost(6, 4, 2, 8, 0.5)  # what this process does is no repetition yet
    assert Replies(tmp_path, "c").repeated == Cost(9, 6, 3, 12, 0.75)
