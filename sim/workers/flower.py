"""Jobs as Flower messages: over a Ray simulation that is started here, or over the Grid that ``flwr run`` gives.

``run_simulation`` runs in a thread; its ServerApp hands the Grid out and waits. Jobs are then sent and replies taken in the
caller's thread, so that they are lazy and an exception ends only the round. In a simulation every node can load every
client's data; which node a job goes to decides the load, not the result. Nodes of a deployment may hold only some clients'
data: they are asked whose, and a job goes to the node that has what it needs.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

# Flower reads its environment when it is imported.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

import numpy as np
import ray
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.clientapp import ClientApp
from flwr.server.superlink.fleet.vce.backend import raybackend
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from flwr.simulation.ray_transport.ray_actor import BasicActorPool, ClientAppActor
from flwr.supercore.inflatable.inflatable_utils import pull_objects
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import http_grid

from clients.app import WHO
from clients.app import app as client_app
from clients.errors import InputError
from clients.jobs import Job, Reply
from clients.settings import Settings
from clients.work.site import HERE
from sim.scenario.workers import Kind, WorkersSpec
from sim.terminal import errors
from sim.workers.places import Places, owners, pieces, some, together
from sim.workers.ray import Watch, ray_instance
from sim.workers.sizes import Sizes
from sim.workers.workers import Workers, nodes_for
from strategies.flower import PAUSE, JobStrategy, WindowedGrid

NODES_WITHIN = 300.0
"""Seconds in which nodes have to appear."""
LINK_PAUSE = 0.2
"""Seconds between two looks for replies at a SuperLink: each is a request."""
RESTARTS = 20
"""How often a worker of a simulation comes back that has died: for ever would hide that it cannot live."""


class GridWorkers:
    """Jobs over the nodes of a Flower Grid.

    Args:
        check: called while waiting; raises where waiting is in vain.
        asked: what nodes have said of whose data they hold, as far as they were asked; None: every node can have
            everybody's. Nodes that are asked start a process for each message, so jobs for one of them travel together.
    """

    def __init__(
        self,
        grid: Grid,
        settings: Settings,
        timeout: float = 3600,
        check: Callable[[], None] = lambda: None,
        asked: dict[int, frozenset[str] | None] | None = None,
    ) -> None:
        self.grid = WindowedGrid(grid, check=check, pause=PAUSE if asked is None else LINK_PAUSE)
        self.timeout, self.settings = timeout, settings.model_dump_json()
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
            if (whole := wholes[number].with_part(positions, reply, self.sizes)) is not None:
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


def wait_for_nodes(grid: Grid, check: Callable[[], None] = lambda: None, within: float = NODES_WITHIN) -> int:
    """Wait until there are nodes and their number stands still; returns it.

    Raises:
        InputError: none came.
    """
    before, until = 0, time.monotonic() + within
    while (now := len(list(grid.get_node_ids()))) == 0 or now != before:
        if time.monotonic() > until:
            raise InputError(f"workers: no Flower node joined in {within:g} s")
        check()
        before = now
        time.sleep(0.1)
    return now


class Backend(raybackend.RayBackend):
    """Flower's own, with as many actors as asked for (not as many as fit) and on a Ray instance that is not its to stop."""

    def __init__(self, config: dict[str, Any], count: int) -> None:
        super().__init__(config)
        self.count = count
        self.actors: list[Any] = []

    def build(self, app_fn: Callable[[], ClientApp]) -> None:
        """Start the actors."""
        self.app_fn = app_fn
        self.pool = BasicActorPool(ClientAppActor, self.client_resources, self.actor_kwargs)
        self.pool.add_actors_to_pool(self.count)
        self.actors = list(self.pool.pool)

    def terminate(self) -> None:
        """Stop the actors, and whatever they are doing."""
        for actor in self.actors:
            ray.kill(actor)


@contextmanager
def simulation(spec: WorkersSpec, nodes: int) -> Iterator[tuple[Grid, Callable[[], None]]]:
    """Run a Flower simulation in a thread for the length of the block, on the Ray instance that is there.

    Simulations may be nested; the inner one is the one to use until it is closed.

    Yields:
        its Grid, once all nodes are there, and a check that raises if the simulation has ended by itself.
    """
    watch = Watch(spec)
    # A worker that dies comes back, and its message is tried once more; as Flower has it, both would be lost.
    resources: dict[str, Any] = {
        "num_cpus": spec.cpus,
        "num_gpus": spec.gpus,
        "max_restarts": RESTARTS,
        "max_task_retries": 1,
    }
    given, unwanted = Future[Grid](), threading.Event()
    backends: list[Backend] = []
    failures: list[BaseException] = []
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        given.set_result(grid)
        unwanted.wait()

    def make_backend(config: dict[str, Any]) -> Backend:
        backends.append(Backend(config, spec.count))
        return backends[-1]

    def simulate() -> None:
        try:
            run_simulation(server, client_app, nodes, backend_config={"client_resources": resources})
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=simulate, name="flower", daemon=True)

    def check() -> None:
        if not thread.is_alive():
            raise RuntimeError("the Flower simulation ended early") from next(iter(failures), None)
        watch()

    # Flower keeps the run that messages belong to in globals: an enclosing simulation gets its own back.
    identity = _replaced(TaskIdentity, _run_id=None, _node_id=None, _task_id=None)
    with _replaced(raybackend, RayBackend=make_backend), identity:
        thread.start()
        try:
            while not given.done():
                check()
                time.sleep(0.01)
            wait_for_nodes(given.result(), check)
            yield given.result(), check
        finally:
            unwanted.set()
            for backend in backends:
                backend.terminate()
            thread.join()


@contextmanager
def _replaced(owner: Any, **values: Any) -> Iterator[None]:
    """Other values for attributes of Flower's inside the block: it has no setting for these."""
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Flower's log off: what goes wrong comes back as replies and exceptions."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def open_flower(spec: WorkersSpec, settings: Settings) -> Iterator[GridWorkers]:
    """A simulation with one node per cohort, for the length of the block."""
    nodes = nodes_for(len(names(settings)), spec.cohort)
    with _quiet(), ray_instance(spec), simulation(spec, nodes) as (grid, check):
        yield GridWorkers(grid, settings, spec.timeout, check)


def on_grid(grid: Grid) -> Callable[[WorkersSpec, Kind, Settings], AbstractContextManager[Workers]]:
    """A stand-in for ``open_workers`` that sends everything over a Grid that is already there, whatever the kind."""
    asked: dict[int, frozenset[str] | None] = {}

    @contextmanager
    def open_on_grid(spec: WorkersSpec, kind: Kind, settings: Settings) -> Iterator[Workers]:
        first = not asked
        # Flower looks again after a second if it comes upon a reply that is still on its way.
        with _replaced(http_grid, pull_objects=partial(pull_objects, initial_backoff=LINK_PAUSE)):
            wait_for_nodes(grid)
            workers = GridWorkers(grid, settings, spec.timeout, asked=asked)
            nodes = workers.nodes()
            if first and (nowhere := workers.places.nowhere(nodes)):
                errors.print(f"No node holds the data of {some(nowhere)}: their jobs will fail.", highlight=False)
            yield workers

    return open_on_grid
