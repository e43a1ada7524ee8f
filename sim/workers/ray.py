"""A pool of Ray actors, here or on a cluster: the base model stays in the actor, shared arrays in Ray's object store.

Each actor has one job running and one waiting. An actor that dies is replaced, and the jobs that were with it are tried
once more, each alone on an actor, so that a job that kills its worker takes no other job with it.
"""

import logging
import math
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

# Ray reads its environment when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_enable_metrics_collection", "0")

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError

from clients.errors import InputError
from clients.jobs import Job, Reply, perform
from clients.settings import Settings
from clients.work.site import open_site
from sim.scenario.workers import WorkersSpec

AT_ONCE = 2
"""Jobs with an actor at a time: the next one is there when one ends."""


@contextmanager
def ray_instance(spec: WorkersSpec) -> Iterator[None]:
    """Start or join Ray, unless this process already has; whoever started it stops it.

    Raises:
        InputError: the cluster cannot be joined, or has less than the workers ask for.
    """
    if ray.is_initialized():
        _check_fits(spec)
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if spec.address is None:
        # Logical CPUs for both kinds of workers at once; how many work at a time is for `count` to say.
        options |= {"num_cpus": 2 * max(1, math.ceil(spec.count * spec.cpus)), "include_dashboard": False}
    try:
        ray.init(spec.address or "local", **options)
    except (ConnectionError, RayError) as error:
        raise InputError(f"workers.address: cannot join Ray at {spec.address or 'this machine'}: {error}") from error
    try:
        _check_fits(spec)
        yield
    finally:
        ray.shutdown()


def _check_fits(spec: WorkersSpec) -> None:
    """Ray would wait for ever for a worker that fits nowhere."""
    there = ray.cluster_resources()
    for name, each in (("CPU", spec.cpus), ("GPU", spec.gpus)):
        if spec.count * each > there.get(name, 0):
            raise InputError(
                f"workers: {spec.count} workers of {each:g} {name}s each do not fit the {there.get(name, 0):g} {name}s of "
                f"Ray; lower workers.count or workers.{name.lower()}s"
            )


class Worker:
    """The actor. Its methods run in another process."""

    def __init__(self, settings: Settings) -> None:
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to them
        self.settings = settings

    def warm(self) -> None:
        """Open the site of this process before the first job."""
        open_site(self.settings)

    def perform(self, job: Job, *arrays: np.ndarray) -> Reply:
        """Do a job; Ray has put the shared arrays that it names in place of their references."""
        return perform(open_site(self.settings), job, dict(zip(job.shared, arrays, strict=True)))


class Flight(NamedTuple):
    """A job that is with an actor; ``again``: for the second time, and alone."""

    number: int
    job: Job
    slot: int
    again: bool


class RayWorkers:
    """Jobs over a fixed number of actors."""

    def __init__(self, spec: WorkersSpec, settings: Settings) -> None:
        self._new = ray.remote(Worker).options(num_cpus=spec.cpus, num_gpus=spec.gpus).remote
        self.settings = settings
        self.actors = [self._start() for _ in range(spec.count)]

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        """See ``Workers.run``."""
        refs = {name: ray.put(array) for name, array in shared.items()}
        new, again = enumerate(jobs), deque[tuple[int, Job]]()
        flying: dict[Any, Flight] = {}
        while True:
            for flight in self._take(new, again, flying):
                try:
                    ref = self.actors[flight.slot].perform.remote(flight.job, *(refs[n] for n in flight.job.shared))
                except Exception as error:  # what it holds cannot be sent
                    yield flight.number, _failed(flight.job, error)
                else:
                    flying[ref] = flight
            if not flying:
                return
            (ref,), _ = ray.wait(list(flying), num_returns=1)
            flight = flying.pop(ref)
            try:
                reply = ray.get(ref)
            except RayActorError as error:
                again.extend(self._replace(flight, flying))
                if flight.again:
                    reply = _failed(flight.job, error)
                else:
                    again.appendleft((flight.number, flight.job))
                    continue
            except RayError as error:
                reply = _failed(flight.job, error)
            del ref  # the caller may drop the reply: nothing here holds it in the object store
            yield flight.number, reply
            del reply

    def _take(
        self, new: Iterator[tuple[int, Job]], again: deque[tuple[int, Job]], flying: Mapping[Any, Flight]
    ) -> Iterator[Flight]:
        """Jobs for actors with room, first those to try again: each of these has an actor to itself."""
        for slot in range(len(self.actors)):
            there = [flight for flight in flying.values() if flight.slot == slot]
            load = AT_ONCE if any(flight.again for flight in there) else len(there)
            if again:
                if load == 0:
                    yield Flight(*again.popleft(), slot, again=True)
                continue
            for _ in range(AT_ONCE - load):
                if (item := next(new, None)) is None:
                    return
                yield Flight(*item, slot, again=False)

    def _replace(self, lost: Flight, flying: dict[Any, Flight]) -> list[tuple[int, Job]]:
        """Put a fresh actor in a dead one's place; returns the other jobs that were with it."""
        ray.kill(self.actors[lost.slot])  # it may be one that only cannot be reached
        self.actors[lost.slot] = self._start()
        with_it = [ref for ref, flight in flying.items() if flight.slot == lost.slot]
        return [(flying[ref].number, flying.pop(ref).job) for ref in with_it]

    def _start(self) -> Any:
        actor = self._new(self.settings)
        actor.warm.remote()
        return actor

    def close(self) -> None:
        """Stop the actors, and whatever they are doing."""
        for actor in self.actors:
            ray.kill(actor)


def _failed(job: Job, error: Exception) -> Reply:
    cause = getattr(error, "cause", None) or error  # an exception in the actor, without Ray's traceback
    return Reply(job.clients, error=f"worker: {type(cause).__name__}: {str(cause).strip().splitlines()[0]}")


@contextmanager
def open_ray(spec: WorkersSpec, settings: Settings) -> Iterator[RayWorkers]:
    """A pool of actors for the length of the block."""
    with ray_instance(spec):
        workers = RayWorkers(spec, settings)
        try:
            yield workers
        finally:
            workers.close()
