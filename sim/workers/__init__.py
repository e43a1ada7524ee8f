"""Who carries out client jobs: this process, a pool of Ray actors, or Flower nodes. All give the same bits.

``open_workers`` is the only way in; ``ray`` and ``flower`` are imported when they are asked for. Jobs and replies are plain
data (``clients.jobs``); replies come in any order and only a window of them is held. Arrays in replies may be read-only.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field, model_validator

from clients.jobs import Job, Reply, Site, Wants, open_site, perform
from clients.settings import Settings
from clients.strict import Strict

Kind = Literal["inline", "ray", "flower"]


class WorkersSpec(Strict):
    """Who does the work, and with how much of the machine."""

    learn: Kind = Field("flower", description="who tunes the clients when they join")
    stream: Kind = Field("ray", description="who plays the stream of requests")
    count: int = Field(2, ge=1, description="workers at a time")
    cpus: float = Field(1, gt=0, description="share of CPUs of one worker")
    gpus: float = Field(0, ge=0, description="share of GPUs of one worker")
    cohort: int = Field(4, ge=1, description="clients per message")
    address: str | None = Field(None, description="a Ray cluster (auto, ray://host:10001); none: start one here")
    timeout: float = Field(3600, gt=0, description="flower: seconds without any answer until waiting ends")

    @model_validator(mode="before")
    @classmethod
    def _kind_sets_both(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "kind" not in value:
            return value
        rest = {key: item for key, item in value.items() if key != "kind"}
        if clash := sorted({"learn", "stream"} & rest.keys()):
            raise ValueError(f"workers.kind sets learn and stream both: leave out either it or {' and '.join(clash)}")
        return {**rest, "learn": value["kind"], "stream": value["kind"]}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        made = handler.resolve_ref_schema(handler(core))
        made["properties"]["kind"] = made["properties"]["learn"] | {"description": "sets learn and stream both"}
        made["properties"]["kind"].pop("default", None)
        return made


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


@contextmanager
def open_workers(spec: WorkersSpec, kind: Kind, settings: Settings) -> Iterator[Workers]:
    """Workers of a kind, closed at the end of the block.

    Raises:
        InputError: data or model cannot be opened, or the machine has less than the workers ask for.
    """
    if kind == "inline":
        yield InlineWorkers(open_site(settings))
    elif kind == "ray":
        from sim.workers.ray import open_ray

        with open_ray(spec, settings) as workers:
            yield workers
    else:
        from sim.workers.flower import open_flower

        with open_flower(spec, settings) as workers:
            yield workers


def one_ray(spec: WorkersSpec) -> AbstractContextManager[None]:
    """Keep one Ray instance for all workers that are opened inside the block; nothing where all work is inline."""
    if spec.learn == spec.stream == "inline":
        return nullcontext()
    from sim.workers.ray import ray_instance

    return ray_instance(spec)


def cohorts(clients: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Clients in groups of ``size``, in their order; the last one may be smaller."""
    return [tuple(clients[start : start + size]) for start in range(0, len(clients), size)]


def nodes_for(clients: int, cohort: int) -> int:
    """Flower nodes for so many clients: one per cohort."""
    return max(1, math.ceil(clients / cohort))


def job_bytes(job: Job, shared: Mapping[str, np.ndarray]) -> int:
    """Bytes that a job sends to a client: its arrays, the shared ones it reads, its facts as JSON."""
    named = sum(shared[name].nbytes for name in job.shared)
    return sum(array.nbytes for array in job.arrays.values()) + named + len(json.dumps(job.facts))


def reply_bytes(reply: Reply, wants: Wants | None = None) -> int:
    """Bytes that a client sends back: its arrays (of a tune job, those wanted) and its facts as JSON."""
    sent = [array.nbytes for name, array in reply.arrays.items() if wants is None or wants.holds(name)]
    return sum(sent) + len(json.dumps(reply.facts))
