"""A pool of Ray actors, here or on a cluster: the base model stays in the actor, shared arrays in Ray's object store.

Each actor has one job running and one waiting. An actor that dies is replaced, and the jobs that were with it are tried
once more, each alone on an actor, so that a job that kills its worker takes no other job with it. Where actors die one after
the other, or Ray itself has gone, waiting is in vain: an error says what to lower.
"""

import logging
import math
import os
import socket
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

# Ray reads its environment when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_enable_metrics_collection", "0")

import numpy as np
import ray
from ray._private import worker as connected
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, OutOfMemoryError, RayActorError, RayError

from clients.errors import InputError
from clients.jobs import Job, Reply, perform
from clients.settings import Settings
from clients.work.site import open_site
from sim.scenario.workers import WorkersSpec
from sim.workers.witness import witness

AT_ONCE = 2
"""Jobs with an actor at a time: the next one is there when one ends."""
DEATHS = 6
"""Worker processes that die with no answer between them until no more are started."""
LOOK = 2.0
"""Seconds between two looks whether Ray is still there."""
LOWER = "lower workers.count, workers.cohort or tuning.micro_batch"
FULL = (ObjectStoreFullError, OutOfDiskError)
DEAD = (RayActorError, OutOfMemoryError)
"""What a job gets whose worker has died; the second where Ray has killed it, before the system would."""


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
        told = f"Error: {_ended('raylet')}\nNothing that is done is lost. A run goes on with: unmerge run --resume RUN\n"
        own = _processes().get("raylet", []) if spec.address is None else []
        with witness(own[0].process.pid, told) if own else nullcontext():
            yield
    finally:
        ray.shutdown()


def _processes() -> Mapping[str, Any]:
    """What Ray has started for this process, by name; nothing where a cluster was joined that somebody else has started."""
    node = connected._global_node  # Ray has no public way to ask
    return {} if node is None else node.all_processes


def _ended(process: str) -> str:
    return f"workers: Ray has ended ({process} was killed, as a machine does that runs out of memory or disk); {LOWER}"


class Watch:
    """Looks now and then whether Ray is still there; calls of it cost nothing in between."""

    def __init__(self, spec: WorkersSpec) -> None:
        self.spec, self.looked = spec, time.monotonic()
        address = ray.get_runtime_context().gcs_address
        self.host, _, self.port = address.rpartition(":")
        self.deaths = 0

    def __call__(self) -> None:
        """Raise if waiting for Ray is in vain.

        Raises:
            InputError: one of its processes has ended, or what is left of the cluster is too small for the workers.
        """
        if time.monotonic() - self.looked < LOOK:
            return
        self._look()
        if not self._reached():
            raise InputError(_ended("gcs_server"))
        _check_fits(self.spec)
        self.looked = time.monotonic()

    def _look(self) -> None:
        """Raise if a process has ended without which there is no Ray."""
        for name in ("raylet", "gcs_server"):
            if any(each.process.poll() is not None for each in _processes().get(name, [])):
                raise InputError(_ended(name))

    def died(self) -> None:
        """Count a worker that has died.

        Raises:
            InputError: too many, one after the other, or Ray has.
        """
        self._look()  # before anything is asked of a raylet that is dead: Ray's library ends the process that does
        self.deaths += 1
        if self.deaths >= DEATHS:
            raise InputError(
                f"workers: {self.deaths} worker processes died one after the other, as they do if memory runs out; {LOWER}"
            )

    def answered(self) -> None:
        """A worker lives."""
        self.deaths = 0

    def _reached(self) -> bool:
        if not self.host:
            return True
        try:
            socket.create_connection((self.host, int(self.port)), timeout=5).close()
        except OSError:
            return False
        return True


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
        self.watch = Watch(spec)
        self._new = ray.remote(Worker).options(num_cpus=spec.cpus, num_gpus=spec.gpus).remote
        self.settings = settings
        self.actors = [self._start() for _ in range(spec.count)]

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        """See ``Workers.run``.

        Raises:
            InputError: Ray has gone, its object store is full, or its workers die one after the other.
        """
        refs = {name: _put(array) for name, array in shared.items()}
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
            done: list[Any] = []
            while not done:
                done, _ = ray.wait(list(flying), num_returns=1, timeout=1)
                self.watch()
            flight = flying.pop(ref := done.pop())
            try:
                reply = ray.get(ref)
                self.watch.answered()
            except DEAD as error:
                self.watch.died()
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


def _put(array: np.ndarray) -> Any:
    try:
        return ray.put(array)
    except FULL as error:
        raise InputError(
            f"workers: Ray's object store has no room for {array.nbytes:,} bytes more, in memory (/dev/shm) or on disk "
            f"(/tmp/ray); {LOWER}"
        ) from error


def _failed(job: Job, error: Exception) -> Reply:
    cause = getattr(error, "cause", None) or error  # an exception in the actor, without Ray's traceback
    said = f"worker: {type(cause).__name__}: {str(cause).strip().splitlines()[0]}"
    return Reply(
        job.clients, error=f"{said} (if it is memory or disk: {LOWER})" if isinstance(cause, (*DEAD, *FULL)) else said
    )


@contextmanager
def open_ray(spec: WorkersSpec, settings: Settings) -> Iterator[RayWorkers]:
    """A pool of actors for the length of the block."""
    with ray_instance(spec):
        workers = RayWorkers(spec, settings)
        try:
            yield workers
        finally:
            workers.close()
