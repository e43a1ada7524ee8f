"""Replies that have come since the last commit, on disk: a step that is begun again does not ask for them again.

A step (localizing, evaluating, an audit) is repeated from its beginning when its process was killed. It asks for the same
jobs in the same order, as everything here is deterministic, so the n-th reply to a job is the n-th that was written down.
Learning is different: it commits every so often, and its replies are large. Of those only the cost is written down, and what
was done since the last commit is done again: that is *repeated work*.

The file belongs to one commit, whose hash it begins with. It is deleted by the next one.
"""

import json
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clients.data.source import ShardRef
from clients.exact import digest
from clients.jobs import Job, Reply
from sim.life.cost import Cost, of_reply
from sim.workers.workers import Workers

NAME = ".replies"
NOTHING = Cost()


class Replies:
    """The replies since a commit.

    Attributes:
        repeated: what was done before and is done again, as its replies were not written down whole.
    """

    def __init__(self, folder: Path, commit: str) -> None:
        self._path, self._commit = folder / NAME, commit
        self.repeated = NOTHING
        self._seen: Counter[str] = Counter()
        self._known: dict[tuple[str, int], Reply] = {}
        if self._path.exists():
            self._read()

    def begin(self, commit: str) -> None:
        """Forget everything: a commit has happened."""
        self._path.unlink(missing_ok=True)
        self._commit, self._known, self.repeated = commit, {}, NOTHING
        self._seen.clear()

    def find(self, job: Job) -> tuple[tuple[str, int], Reply | None]:
        """What tells this asking from all others, and the reply that was written down."""
        key = digest.of_json([job.kind, job.clients, job.facts, sorted(job.refs), job.shared])
        place = key, self._seen[key]
        self._seen[key] += 1
        return place, self._known.get(place)

    def add(self, place: tuple[str, int], reply: Reply, whole: bool) -> None:
        """Write a good reply down, whole or only what it cost; it outlives the process, but not a loss of power."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        start = b"" if self._path.exists() else json.dumps({"commit": self._commit}).encode() + b"\n"
        arrays = reply.arrays if whole else {}
        about = {
            "place": place,
            "whole": whole,
            "clients": reply.clients,
            "facts": reply.facts if whole else of_reply(reply, 0, 0).as_facts(),
            "arrays": [[name, str(array.dtype), array.shape] for name, array in arrays.items()],
        }
        content = b"".join(array.tobytes() for array in arrays.values())
        with self._path.open("ab", buffering=0) as file:
            file.write(start + json.dumps(about).encode() + b"\n" + content + b"\n")

    def _read(self) -> None:
        """Take in what is whole of the file, if it belongs to the last commit, and cut off the rest; else delete it."""
        whole = 0
        with self._path.open("rb") as file:
            try:
                if json.loads(file.readline())["commit"] != self._commit:
                    raise ValueError("of another commit")
                whole = file.tell()
                while line := file.readline():
                    self._take(json.loads(line), file)
                    whole = file.tell()
            except (ValueError, KeyError):  # the last one was being written
                pass
        if whole:
            os.truncate(self._path, whole)
        else:
            self._path.unlink()

    def _take(self, about: dict[str, Any], file: Any) -> None:
        arrays = {}
        for name, dtype, shape in about["arrays"]:
            kind = np.dtype(dtype)
            content = file.read(kind.itemsize * int(np.prod(shape)))
            arrays[name] = np.frombuffer(content, kind).reshape(shape)
        if file.read(1) != b"\n":
            raise ValueError("not whole")
        if about["whole"]:
            key, number = about["place"]
            self._known[key, number] = Reply(tuple(about["clients"]), about["facts"], arrays)
        else:
            self.repeated = self.repeated.then(Cost(**about["facts"]))


class Remembering:
    """Workers whose replies are written down, and who are told which names stand for parts of shards.

    Args:
        refs: those names, at every moment.
        whole: whether replies are written down whole.
    """

    def __init__(self, workers: Workers, replies: Replies, refs: Mapping[str, ShardRef], whole: bool) -> None:
        self.workers, self.replies, self.refs, self.whole = workers, replies, refs, whole

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        """See ``Workers.run``."""
        asked: list[tuple[int, tuple[str, int]]] = []
        found = deque[tuple[int, Reply]]()

        def left() -> Iterator[Job]:
            for index, job in enumerate(jobs):
                mine = {name: self.refs[name] for name in job.clients if name in self.refs}
                told = replace(job, refs={**mine, **job.refs}) if mine else job
                place, reply = self.replies.find(told)
                if reply is None:
                    asked.append((index, place))
                    yield told
                else:
                    found.append((index, reply))

        for number, reply in self.workers.run(left(), shared):
            index, place = asked[number]
            if reply.error is None:
                self.replies.add(place, reply, self.whole)
            while found:
                yield found.popleft()
            yield index, reply
        yield from found
