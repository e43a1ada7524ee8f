"""What every kind of workers gives, the kind that is this process, and how bytes are counted.

Jobs and replies are plain data (``clients.jobs``); replies come in any order and only a window of them is held. Arrays in
replies may be read-only.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from clients.jobs import Job, Reply, perform
from clients.work.contributions import Wanted
from clients.work.site import Site


class Workers(Protocol):
    """Whoever carries out jobs."""

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        """Carry out jobs; a job that fails gives a reply with ``error``.

        Args:
            jobs: taken as workers get free, in the caller's thread.
            shared: arrays that several jobs read, by name.

        Yields:
            (number of the job, its reply), in any order. One run at a time.
        """
        ...


class InlineWorkers:
    """This process, one job after another."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        for index, job in enumerate(jobs):
            yield index, perform(self.site, job, shared)


def cohorts(clients: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Clients in groups of ``size``, in their order; the last one may be smaller."""
    return [tuple(clients[start : start + size]) for start in range(0, len(clients), size)]


def job_bytes(job: Job, shared: Mapping[str, np.ndarray]) -> int:
    """Bytes that a job sends to a client: its arrays, the shared ones it reads, its facts as JSON."""
    named = sum(shared[name].nbytes for name in job.shared)
    return sum(array.nbytes for array in job.arrays.values()) + named + len(json.dumps(job.facts))


def reply_bytes(reply: Reply, wants: Iterable[Wanted] | None = None) -> int:
    """Bytes that a client sends back: its arrays (of a tune job, those wanted) and its facts as JSON.

    The seconds that it took are counted as ``0.0``, however many digits they have: prices are the same in every run.
    """
    keys = None if wants is None else {each.key for each in wants}
    sent = [array.nbytes for name, array in reply.arrays.items() if keys is None or name.partition("/")[0] in keys]
    told = reply.facts | {key: 0.0 for key in ("seconds",) if key in reply.facts}
    return sum(sent) + len(json.dumps(told))
