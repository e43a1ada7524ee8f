"""The way in: workers of a kind, opened and closed. All kinds give the same bits.

``ray`` and ``flower`` are imported when they are asked for.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from clients.exact.files import check_writable
from clients.settings import Settings
from clients.warm import check_sockets
from clients.work.site import open_site
from sim.scenario.workers import Kind, WorkersSpec
from sim.workers.workers import InlineWorkers, Workers

RAYS_LONGEST = f"session_2000-01-01_00-00-00_000000_{2**22}/sockets/plasma_store"
"""The longest of Ray's sockets, by the number of a process that starts it."""


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


def check_temporary(spec: WorkersSpec) -> None:
    """Whether Ray, where it is started here, can put its sockets and logs where temporary files go.

    Raises:
        InputError: it cannot.
    """
    if spec.learn == spec.stream == "inline" or spec.address is not None:
        return
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"
    check_sockets(folder, RAYS_LONGEST)
    check_writable(folder, "TMPDIR")


def one_ray(spec: WorkersSpec) -> AbstractContextManager[None]:
    """Keep one Ray instance for all workers that are opened inside the block; nothing where all work is inline."""
    if spec.learn == spec.stream == "inline":
        return nullcontext()
    from sim.workers.ray import ray_instance

    return ray_instance(spec)
