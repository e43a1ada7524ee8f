"""Jobs as Flower messages: over a Ray simulation that is started here, or over the Grid that ``flwr run .`` gives.

``run_simulation`` runs in a thread; its ServerApp hands the Grid out and waits. Jobs are then sent and replies taken in the
caller's thread, so that they are lazy and an exception ends only the round. In a simulation every node can load every
client's data; which node a job goes to decides the load, not the result.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
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
from flwr.supercore.task_identity import TaskIdentity

from clients.app import app as client_app
from clients.errors import InputError
from clients.jobs import Job, Reply
from clients.settings import Settings
from clients.work.site import HERE
from sim.scenario.workers import Kind, WorkersSpec
from sim.workers.ray import ray_instance
from sim.workers.workers import Workers, nodes_for
from strategies.flower import JobStrategy, WindowedGrid

NODES_WITHIN = 300.0
"""Seconds in which nodes have to appear."""


class GridWorkers:
    """Jobs over the nodes of a Flower Grid. Clients live on nodes in order: client i of n on node i · nodes // n."""

    def __init__(
        self, grid: Grid, settings: Settings, timeout: float = 3600, check: Callable[[], None] = lambda: None
    ) -> None:
        self.grid, self.settings, self.timeout = WindowedGrid(grid, check=check), settings, timeout
        self._place = {client: i for i, client in enumerate(names(settings))}

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        """See ``Workers.run``: one round of the strategy, pulled by the caller instead of folded by a callback."""
        strategy = JobStrategy(jobs, shared, self.settings, self._router())
        messages = strategy.configure_train(1, ArrayRecord(), ConfigRecord(), self.grid)
        yield from strategy.replies(self.grid.send_and_receive(messages, timeout=self.timeout))

    def _router(self) -> Callable[[Job], int]:
        """Who a job goes to now: nodes come and go. An unknown client's job goes to the first node, which says so."""
        nodes = sorted(self.grid.get_node_ids())
        return lambda job: nodes[self._place.get(job.clients[0], 0) * len(nodes) // len(self._place)]


def names(settings: Settings) -> tuple[str, ...]:
    """The clients that the data's manifest names, in its order."""
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
    # A worker that dies comes back, and its message is tried once more; as Flower has it, both would be lost.
    resources: dict[str, Any] = {"num_cpus": spec.cpus, "num_gpus": spec.gpus, "max_restarts": -1, "max_task_retries": 1}
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

    @contextmanager
    def open_on_grid(spec: WorkersSpec, kind: Kind, settings: Settings) -> Iterator[Workers]:
        wait_for_nodes(grid)
        yield GridWorkers(grid, settings, spec.timeout)

    return open_on_grid
