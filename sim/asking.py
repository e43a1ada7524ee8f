"""Carrying out jobs for a strategy: shared arrays looked up, failures retried once, costs counted."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clients.errors import WorkError
from clients.jobs import Job, Reply
from sim.cost import Cost, of_reply
from sim.workers import Workers, job_bytes, reply_bytes
from strategies.kept import Kept
from strategies.strategy import Strategy


class Asker:
    """The ``Ask`` that a strategy is given; ``cost`` is what it has asked for so far."""

    def __init__(self, workers: Workers, strategy: Strategy[Any], done: Callable[[], None] = lambda: None) -> None:
        self.workers, self.strategy, self.done, self.cost = workers, strategy, done, Cost()

    def __call__(self, kept: Kept, jobs: Sequence[Job]) -> Iterator[tuple[int, Reply]]:
        names = sorted({name for job in jobs for name in job.shared})
        shared = {name: self.strategy.direction(kept, name) for name in names}
        stage = Cost()
        for index, reply in run_twice(self.workers, jobs, shared):
            if reply.error:
                raise WorkError(f"{jobs[index].kind} for {', '.join(jobs[index].clients)} failed: {reply.error}")
            stage = stage.beside(of_reply(reply, job_bytes(jobs[index], shared), reply_bytes(reply)))
            self.done()
            yield index, reply
        self.cost = self.cost.then(stage)


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
