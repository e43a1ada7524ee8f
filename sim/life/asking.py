"""Carrying out jobs for a strategy: shared arrays looked up, failures retried once, costs counted.

Several strategies begin with the same central model. At one release each distinct training from θ0 on all members is really
done once, and every strategy pays its full price for it. Such replies live no longer than the release that asks for them, in
memory alone: what is left of the forgotten in them is gone with it, and an audit does everything again.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clients.errors import NotFiniteError, WorkError, reason_not_finite, some
from clients.exact import digest
from clients.jobs import Job, Reply
from sim.life.cost import Cost, of_reply
from sim.workers.workers import Workers, job_bytes, reply_bytes
from strategies.state.kept import Kept
from strategies.strategy import Strategy

Trainings = dict[str, Reply]
"""Replies of central trainings, by what was asked."""

MOST_TRAININGS = 4
"""How many are held at a time, each as large as the model."""


class Asker:
    """The ``Ask`` that a strategy is given; ``cost`` is what it has asked for so far.

    Args:
        trainings: of this release, shared by the strategies; None does every job anew.
    """

    def __init__(
        self,
        workers: Workers,
        strategy: Strategy[Any],
        done: Callable[[], None] = lambda: None,
        trainings: Trainings | None = None,
    ) -> None:
        self.workers, self.strategy, self.done, self.cost = workers, strategy, done, Cost()
        self.trainings = trainings

    def __call__(self, kept: Kept, jobs: Sequence[Job]) -> Iterator[tuple[int, Reply]]:
        names = sorted({name for job in jobs for name in job.shared})
        shared = {name: self.strategy.direction(kept, name) for name in names}
        stage = Cost()
        known = {} if self.trainings is None else self.trainings
        keys = [training_key(kept, job) for job in jobs]
        found = {index: known[key] for index, key in enumerate(keys) if key is not None and key in known}
        asked = [index for index in range(len(jobs)) if index not in found]
        replies = run_twice(self.workers, [jobs[index] for index in asked], shared) if asked else ()
        for index, reply in itertools.chain(found.items(), ((asked[number], reply) for number, reply in replies)):
            if reply.error:
                raise _failure(jobs[index], reply.error)
            key = keys[index]
            if key is not None and self.trainings is not None and len(self.trainings) < MOST_TRAININGS:
                self.trainings[key] = reply
            stage = stage.beside(of_reply(reply, job_bytes(jobs[index], shared), reply_bytes(reply)))
            self.done()
            yield index, reply
        self.cost = self.cost.then(stage)


def _failure(job: Job, error: str) -> Exception:
    """The error of a job: one that others have no part in where its numbers were not finite."""
    what = f"{job.kind} for {some(job.clients)} failed: "
    reason = reason_not_finite(error)
    return WorkError(what + error) if reason is None else NotFiniteError(what + reason)


def training_key(kept: Kept, job: Job) -> str | None:
    """What tells a training from θ0 on all members from others of its kind; None for any other job."""
    if job.kind != "train" or job.shared or set(job.clients) != set(kept.members):
        return None
    return digest.of_json([job.clients, job.facts])


def run_twice(workers: Workers, jobs: Sequence[Job], shared: dict) -> Iterator[tuple[int, Reply]]:  # type: ignore[type-arg]
    """Every job's reply, in any order; a job that fails is done once more, and its second reply counts."""
    failed = []
    for index, reply in workers.run(jobs, shared):
        if reply.error:
            failed.append(index)
        else:
            yield index, reply
    if failed:
        for again, reply in workers.run([jobs[index] for index in failed], shared):
            yield failed[again], reply
