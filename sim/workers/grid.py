"""Jobs over the nodes of a Flower Grid, whoever gives it: each to a node that has the data it needs."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import Grid

from clients.app import WHO
from clients.errors import InputError
from clients.jobs import Job, Reply
from clients.settings import Settings
from clients.work.site import HERE
from sim.terminal import errors
from sim.workers.places import Places, owners, pieces, together
from sim.workers.sizes import Sizes
from strategies.flower import PAUSE, JobStrategy, WindowedGrid

LINK_PAUSE = 0.2
"""Seconds between two looks for replies at a SuperLink: each is a request."""


class GridWorkers:
    """Jobs over the nodes of a Flower Grid.

    Args:
        check: called while waiting; raises where waiting is in vain.
        heard: told of each reply, and gives it back as it should read; raises where going on is in vain.
        asked: what nodes have said of whose data they hold, as far as they were asked; None: every node can have
            everybody's. Nodes that are asked start a process for each message, so jobs for one of them travel together.
    """

    def __init__(
        self,
        grid: Grid,
        settings: Settings,
        timeout: float = 3600,
        check: Callable[[], None] = lambda: None,
        heard: Callable[[Reply], Reply] = lambda reply: reply,
        asked: dict[int, frozenset[str] | None] | None = None,
    ) -> None:
        self.grid = WindowedGrid(grid, check=check, pause=PAUSE if asked is None else LINK_PAUSE)
        self.timeout, self.heard, self.settings = timeout, heard, settings.model_dump_json()
        self.places, self.asked, self.sizes = Places(names(settings)), asked, Sizes()

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        """See ``Workers.run``: a round of the strategy, pulled by the caller instead of folded by a callback; and another
        one of the jobs whose node has gone meanwhile, for nodes that can do them too."""
        lost: list[tuple[int, Job]] = []
        yield from self._round(enumerate(jobs), shared, lost)
        if lost:
            yield from self._round(lost, shared, None)

    def _round(
        self, numbered: Iterable[tuple[int, Job]], shared: Mapping[str, np.ndarray], lost: list[tuple[int, Job]] | None
    ) -> Iterator[tuple[int, Reply]]:
        """Replies to jobs; those whose node goes are put into ``lost``, if it is there."""
        nodes = self.nodes()
        wholes: dict[int, Whole] = {}
        sent: dict[int, tuple[int, tuple[int, ...]]] = {}
        refused: deque[tuple[int, Reply]] = deque()

        def parts() -> Iterator[Job]:
            count = 0
            for number, job in numbered:
                try:
                    found = pieces(job, self.places, nodes)
                except InputError as error:
                    told = f"worker: {'its node has gone; ' if lost is None else ''}{error}"
                    refused.append((number, Reply(job.clients, error=told)))
                    continue
                wholes[number] = Whole(job, len(found))
                for piece in found:
                    sent[count] = number, piece.positions
                    count += 1
                    yield piece.job

        def again(index: int, job: Job) -> bool:
            number = sent[index][0]
            if lost is None or wholes[number].parts > 1:
                return False
            del wholes[number], sent[index]
            lost.append((number, job))
            return True

        route = lambda job: self.places.node(owners(job), nodes) or 0  # noqa: E731
        strategy = JobStrategy(parts(), shared, self.settings, route, together=self._together, again=again)
        messages = strategy.configure_train(1, ArrayRecord(), ConfigRecord(), self.grid)
        for index, reply in strategy.replies(self.grid.send_and_receive(messages, timeout=self.timeout)):
            number, positions = sent.pop(index)
            if (whole := wholes[number].with_part(positions, self.heard(reply), self.sizes)) is not None:
                del wholes[number]
                yield number, whole
            yield from _emptied(refused)
        yield from _emptied(refused)

    def _together(self, job: Job) -> int:
        return 1 if self.asked is None else self.sizes.together(job.kind)

    def nodes(self) -> list[int]:
        """The nodes that there are now; those that are new are asked whose data they hold."""
        there = sorted(self.grid.get_node_ids())
        if self.asked is None:
            return there
        self.grid.window = max(2 * len(there), 2)  # one message at work and one on its way: a node need not wait for it
        if new := [node for node in there if node not in self.asked]:
            self.asked |= self._who(new)
        self.places.holds = self.asked
        return there

    def _who(self, nodes: Sequence[int]) -> dict[int, frozenset[str] | None]:
        """By node the clients whose data it holds, or None."""
        jobs = [Job(WHO, (), {"node": node}) for node in nodes]
        strategy = JobStrategy(jobs, {}, self.settings, lambda job: job.facts["node"])
        messages = strategy.configure_train(1, ArrayRecord(), ConfigRecord(), self.grid)
        found: dict[int, frozenset[str] | None] = {}
        for index, reply in strategy.replies(self.grid.send_and_receive(messages, timeout=self.timeout)):
            if reply.error:
                errors.print(f"A node cannot say whose data it holds: {reply.error}", highlight=False)
            held = () if reply.error else reply.facts["clients"]
            found[nodes[index]] = None if held is None else frozenset(held)
        return found


@dataclass
class Whole:
    """A job that is out, and the replies to its parts so far."""

    job: Job
    parts: int
    replies: dict[tuple[int, ...], Reply] = field(default_factory=dict)

    def with_part(self, positions: tuple[int, ...], reply: Reply, sizes: Sizes) -> Reply | None:
        """The reply to the whole job, if this was the last part."""
        sizes.seen(self.job.kind, reply)
        if self.parts == 1:
            return reply
        self.replies[positions] = reply
        return together(self.job, self.replies) if len(self.replies) == self.parts else None


def _emptied(refused: deque[tuple[int, Reply]]) -> Iterator[tuple[int, Reply]]:
    while refused:
        yield refused.popleft()


def names(settings: Settings) -> tuple[str, ...]:
    """The clients that may take part, in their order: as they are written down, or as the data say."""
    if settings.population is not None:
        return settings.population.clients
    return HERE.dataset(settings.data, settings.seed).manifest.clients
