"""The system kills Ray's processes, or its object store is full: failed replies, or an error that says what to lower, within
a minute and without a hang."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

from clients.errors import InputError
from clients.jobs import Job, Reply, tune_job
from clients.settings import Settings
from clients.work.site import Site
from sim.scenario.workers import Kind, WorkersSpec
from sim.workers.opening import open_workers
from sim.workers.workers import Workers

pytestmark = [pytest.mark.slow, pytest.mark.deployment]

MINUTE = 60.0


def processes(wanted: Callable[[str], bool]) -> list[psutil.Process]:
    """Ray's processes below this one whose title is wanted."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, IndexError):
            if wanted(" ".join(process.cmdline()[:1])):
                found.append(process)
    return found


def kill(wanted: Callable[[str], bool]) -> int:
    """SIGKILL them; returns how many there were."""
    there = processes(wanted)
    for process in there:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return len(there)


def works(title: str) -> bool:
    """Whether a process does client work: Ray writes what it does into its title."""
    return title.startswith("ray::") and "IDLE" not in title and "Agent" not in title


@contextmanager
def killed_again_and_again(wanted: Callable[[str], bool]) -> Iterator[list[int]]:
    """Processes are killed as they appear, for the length of the block; yields how many were, each time."""
    stopped, killed = threading.Event(), list[int]()

    def go_on() -> None:
        while not stopped.wait(0.3):
            killed.append(kill(wanted))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield killed
    finally:
        stopped.set()
        thread.join()


def jobs(site: Site) -> list[Job]:
    return [tune_job([client], "plain", []) for client in site.manifest.clients]


def many_rounds(workers: Workers, site: Site) -> None:
    """Learn again and again, until it is no longer possible."""
    for _ in range(100):
        list(workers.run(jobs(site)))


@pytest.mark.parametrize("kind", ["ray", "flower"])
def test_workers_that_cannot_live_end_the_round(kind: Kind, site: Site, tiny_settings: Settings) -> None:
    with open_workers(WorkersSpec(count=2, cpus=0.5), kind, tiny_settings) as workers:
        assert all(reply.error is None for _, reply in workers.run(jobs(site)[:2]))
        started = time.monotonic()
        with (
            killed_again_and_again(works) as killed,
            pytest.raises(InputError, match=r"lower workers\.count, workers\.cohort"),
        ):
            many_rounds(workers, site)
        assert sum(killed) > 0
        assert time.monotonic() - started < MINUTE


@pytest.mark.parametrize("kind", ["ray", "flower"])
@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_ray_itself_is_killed(kind: Kind, victim: str, site: Site, tiny_settings: Settings) -> None:
    with open_workers(WorkersSpec(count=2, cpus=0.5), kind, tiny_settings) as workers:
        assert all(reply.error is None for _, reply in workers.run(jobs(site)[:2]))
        started = time.monotonic()
        assert kill(lambda title: Path(title).name == victim) == 1
        told = rf"Ray has ended \({victim} was killed.* memory or disk\); lower workers\.count"
        with pytest.raises(InputError, match=told):
            many_rounds(workers, site)
    assert time.monotonic() - started < MINUTE
    assert not ray.is_initialized()
    assert processes(works) == []


def test_a_full_object_store_says_so(site: Site, tiny_settings: Settings, tmp_path: Path) -> None:
    """80 MB of memory, and a disk that counts as full: three directions of 60 MB do not fit."""
    ray.init(
        "local",
        num_cpus=4,
        object_store_memory=80_000_000,
        include_dashboard=False,
        log_to_driver=False,
        _system_config={"local_fs_capacity_threshold": 0.001},
    )
    try:
        with open_workers(WorkersSpec(count=1), "ray", tiny_settings) as workers:
            started = time.monotonic()
            shared = {name: np.zeros(60_000_000, dtype=np.uint8) for name in "abc"}
            with pytest.raises(InputError, match=r"object store has no room for 60,000,000 bytes more, in memory .*disk"):
                list(workers.run(jobs(site), shared))
            assert time.monotonic() - started < MINUTE
            replies: list[Reply] = [reply for _, reply in workers.run(jobs(site))]
            assert all(reply.error is None for reply in replies)
    finally:
        ray.shutdown()
