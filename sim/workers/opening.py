"""The way in: workers of a kind, opened and closed. All kinds give the same bits.

``ray`` and ``flower`` are imported when they are asked for.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from clients.settings import Settings
from clients.work.site import open_site
from sim.scenario.workers import Kind, WorkersSpec
from sim.workers.workers import InlineWorkers, Workers


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
