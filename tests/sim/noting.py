"""A run whose workers note what they have done."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from clients.jobs import Job, Reply
from clients.settings import Settings
from clients.work.site import open_site
from sim.run import run_scenario
from sim.scenario.model import Scenario
from sim.scenario.workers import Kind, WorkersSpec
from sim.workers.workers import InlineWorkers, Workers

Noted = list[tuple[Job, dict[str, Any]]]


class NotingWorkers(InlineWorkers):
    """Workers that note each job and the facts of its reply."""

    noted: Noted

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        jobs = list(jobs)
        for index, reply in super().run(jobs, shared):
            self.noted.append((jobs[index], reply.facts))
            yield index, reply


def noted_run(scenario: Scenario, out: Path) -> tuple[Path, Noted]:
    """A finished run, and everything that its workers have really done."""
    noted: Noted = []

    @contextmanager
    def opened(spec: WorkersSpec, kind: Kind, settings: Settings) -> Iterator[Workers]:
        workers = NotingWorkers(open_site(settings))
        workers.noted = noted
        yield workers

    return run_scenario(scenario, out, opened), noted
