"""Jobs as Flower messages: over a Ray simulation that is started here, or over the Grid that ``flwr run`` gives.

``run_simulation`` runs in a thread; its ServerApp hands the Grid out and waits. Jobs are then sent and replies taken in the
caller's thread, so that they are lazy and an exception ends only the round. In a simulation every node can load every
client's data; which node a job goes to decides the load, not the result. Nodes of a deployment may hold only some clients'
data: they are asked whose, and a job goes to the node that has what it needs.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

# Flower reads its environment when it is imported.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

import ray
from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.server.superlink.fleet.vce.backend import raybackend
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from flwr.simulation.ray_transport.ray_actor import BasicActorPool, ClientAppActor
from flwr.supercore.inflatable.inflatable_utils import pull_objects
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import http_grid

from clients.app import app as client_app
from clients.errors import InputError, some
from clients.jobs import Reply
from clients.settings import Settings
from sim.scenario.workers import Kind, WorkersSpec
from sim.terminal import errors
from sim.workers.grid import LINK_PAUSE, GridWorkers, names
from sim.workers.ray import LOWER, Watch, ray_instance
from sim.workers.workers import Workers
from strategies.flower import WINDOW

MOST_NODES = WINDOW
"""Of a simulation: as many as messages are on their way. Flower looks for messages to each ten times a second, which took a
fifth of a core with 125 of them."""
NODES_WITHIN = 300.0
"""Seconds in which nodes have to appear."""
DEAD_KINDS = ("ActorDiedError", "ActorUnavailableError", "RayActorError", "OutOfMemoryError")
"""What Flower writes into the reply of a worker that has died."""
RESTARTS = 6
"""How often a worker of a simulation comes back that has died: for ever would hide that it cannot live."""


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
def simulation(spec: WorkersSpec, nodes: int, watch: Watch) -> Iterator[tuple[Grid, Callable[[], None]]]:
    """Run a Flower simulation in a thread for the length of the block, on the Ray instance that is there.

    Simulations may be nested; the inner one is the one to use until it is closed.

    Yields:
        its Grid, once all nodes are there, and a check that raises if the simulation has ended by itself.
    """
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
    """A simulation for the length of the block, with one node per cohort as far as that makes sense."""
    nodes = max(1, min(MOST_NODES, math.ceil(len(names(settings)) / spec.cohort)))
    with _quiet(), ray_instance(spec):
        watch = Watch(spec)
        with simulation(spec, nodes, watch) as (grid, check):
            yield GridWorkers(grid, settings, spec.timeout, check, partial(_heard, watch))


def _heard(watch: Watch, reply: Reply) -> Reply:
    """Tell the watch whether the worker lives that gives a reply, as far as its error says."""
    if dead := [kind for kind in DEAD_KINDS if kind in (reply.error or "")]:
        watch.died()
        return Reply(reply.clients, error=f"worker: {dead[0]}: its process died (if it is memory or disk: {LOWER})")
    watch.answered()
    return reply


def on_grid(grid: Grid) -> Callable[[WorkersSpec, Kind, Settings], AbstractContextManager[Workers]]:
    """A stand-in for ``open_workers`` that sends everything over a Grid that is already there, whatever the kind."""
    asked: dict[int, frozenset[str] | None] = {}

    @contextmanager
    def open_on_grid(spec: WorkersSpec, kind: Kind, settings: Settings) -> Iterator[Workers]:
        first = not asked
        # Flower looks again after a second if it comes upon a reply that is still on its way.
        with _replaced(http_grid, pull_objects=partial(pull_objects, initial_backoff=LINK_PAUSE / 4)):
            wait_for_nodes(grid)
            workers = GridWorkers(grid, settings, spec.timeout, asked=asked)
            nodes = workers.nodes()
            if first and (nowhere := workers.places.nowhere(nodes)):
                errors.print(f"No node holds the data of {some(nowhere)}: their jobs will fail.", highlight=False)
            yield workers

    return open_on_grid
