"""A study: a folder of runs, one for each point of a sweep and each seed, that several processes may play at once.

Every point is an ordinary run. A process takes a point by a lock, goes on with it where it stood, and writes the results of
all that are done. What one client contributes is worked out once for all points (``sharing``).
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clients.errors import InputError, WorkError
from clients.exact.files import write_whole
from clients.settings import Settings
from clients.work.site import open_site
from sim.life.saved import SCENARIO, new_folder
from sim.life.system import check_data
from sim.plan.checks import check_stream, room_for
from sim.plan.needs import refuse
from sim.run import resume, run_scenario
from sim.scenario.file import Asked, load
from sim.scenario.model import Scenario
from sim.scenario.workers import Kind, WorkersSpec
from sim.study import parts, results
from sim.study.locks import Locks
from sim.study.parts import Parts
from sim.study.results import POINTS, summary_of
from sim.study.sharing import sharing
from sim.study.sweep import Point, points_of
from sim.terminal import console
from sim.workers import opening
from sim.workers.workers import InlineWorkers, Workers

ASKED, PARTS, LOCK = "study.yaml", ".parts", ".lock"


@dataclass(frozen=True)
class Study:
    """A study's folder, the scenario with its sweep, and its points, those of most clients first."""

    folder: Path
    scenario: Scenario
    points: Sequence[Point]


def is_study(folder: Path) -> bool:
    """Whether a folder is that of a study."""
    return (folder / ASKED).is_file()


def new_study(asked: Asked, out: Path | None) -> Study:
    """Check all points of a study, and make its folder.

    Raises:
        InputError: a point is no scenario, its data do not fit, the machine has no room, or the folder exists.
    """
    scenario, points = asked.scenario(), points_of(asked)
    if out is not None and is_study(out):
        raise InputError(f"--out {out}: a study is there; go on with: unmerge run --resume {out}. Or choose another folder")
    folder = new_folder(scenario, out)
    for point in points:
        try:
            check_data(point.scenario, point.seed)
            check_stream(point.scenario, point.seed)
        except InputError as error:
            raise InputError(f"{point.name}: {error}") from error
    refuse(room_for(points[0].scenario, folder))
    write_whole(folder / ASKED, yaml.safe_dump(asked.values, sort_keys=False, allow_unicode=True).encode())
    return Study(folder, scenario, points)


def open_study(folder: Path, overrides: Sequence[str] = ()) -> Study:
    """A study that is there.

    Raises:
        InputError: it is none.
    """
    if not is_study(folder):
        raise InputError(f"{folder}: not a study's folder (no {ASKED} in it)")
    for override in overrides:
        if not override.startswith("workers."):
            raise InputError(f"--set {override}: would change what the study is; only workers can be other ones")
    asked = load(str(folder / ASKED), overrides)
    return Study(folder, asked.scenario(), points_of(asked))


def play(study: Study) -> None:
    """Play every point that is not done yet, with as many processes as the scenario has workers.

    Raises:
        InputError, WorkError: of a point, which is named.
    """
    others = processes(study)
    with _helped(study, others), Locks(study.folder / LOCK) as locks, _progress(study) as done:
        for wait in (False, True):  # what others were at is waited for at the end, and done if they have died
            for point in study.points:
                if not _is_done(study, point) and locks.take(point.name, wait):
                    try:
                        _played(study, point, locks, inline=others > 0)
                    finally:
                        locks.leave(point.name)
                done()
        _write(study, locks)
    parts.erase(study.folder / PARTS)


def processes(study: Study) -> int:
    """How many other processes play points beside this one: as many as there are workers in all, as far as memory reaches.

    Each point is played by one process, whose bits and prices are those of any workers. On GPUs and on a cluster there is
    one process alone, with the scenario's own workers.
    """
    spec = study.scenario.workers
    left = [point for point in study.points if not _is_done(study, point)]
    wanted = at_once(spec, len(left))
    if wanted < 2:
        return 0
    alone = left[0].scenario.model_copy(update={"workers": spec.model_copy(update={"learn": "inline", "stream": "inline"})})
    needed, free = room_for(alone, study.folder).memory
    return max(0, min(wanted, free // max(1, needed)) - 1)


def at_once(spec: WorkersSpec, points: int) -> int:
    """How many of so many points are played at once, where memory reaches."""
    alone = spec.learn == spec.stream == "inline" or spec.address is not None or spec.gpus
    return 1 if alone else min(spec.count, points)


@contextmanager
def _helped(study: Study, others: int) -> Iterator[None]:
    """Other processes play points of the study inside the block; they end with this one."""
    command = [sys.executable, "-m", "sim.study.study", str(study.folder)]
    quiet = subprocess.DEVNULL  # a point that fails there is played here once more, and told
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet) for _ in range(others)]
    try:
        yield
    finally:
        for each in started:
            each.kill()
            each.communicate()


def _help(folder: Path) -> None:
    """Play points of a study until none is left that nobody is at, or the process that asked has gone."""

    def watch() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    study = open_study(folder)
    with Locks(folder / LOCK) as locks:
        for point in study.points:
            if not _is_done(study, point) and locks.take(point.name):
                try:
                    _played(study, point, locks, inline=True)
                finally:
                    locks.leave(point.name)


def _is_done(study: Study, point: Point) -> bool:
    return summary_of(study.folder, point).is_file()


def _played(study: Study, point: Point, locks: Locks, inline: bool) -> None:
    """Play one point, or go on with it; what is done of the study is written afterwards."""
    if _is_done(study, point):  # by another process, between the look and the lock
        return
    folder = study.folder / POINTS / point.name
    open_workers = inline_workers if inline else opening.open_workers
    with Parts(study.folder / PARTS) as shared:
        through = partial(sharing, shared)
        try:
            if (folder / SCENARIO).is_file():
                resume(folder, (), open_workers, through)
            else:
                shutil.rmtree(folder, ignore_errors=True)
                run_scenario(point.scenario, folder, open_workers, through)
        except (InputError, WorkError) as error:
            raise type(error)(f"{point.name}: {error}") from error
    _write(study, locks)


def _write(study: Study, locks: Locks) -> None:
    """Write the results of all points that are done; one process at a time, so that none puts older ones there."""
    locks.take("results", wait=True)
    results.write(study.folder, study.scenario, study.points)
    locks.leave("results")


@contextmanager
def inline_workers(spec: WorkersSpec, kind: Kind, settings: Settings) -> Iterator[Workers]:
    """This process, whatever kind of workers is asked for: all give the same bits."""
    yield InlineWorkers(open_site(settings))


@contextmanager
def _progress(study: Study) -> Iterator[Callable[[], None]]:
    """A line with a bar for the whole study; what is yielded looks who is done, in other processes too."""
    columns = (TextColumn("{task.description:<44}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        sizes = {point.name: point.scenario.stream.join or 1 for point in study.points}
        task = progress.add_task("", total=sum(sizes.values()))

        def look() -> None:
            there = [point.name for point in study.points if _is_done(study, point)]
            told = f"the study: {len(there)} of {len(sizes)} points"
            progress.update(task, completed=sum(sizes[name] for name in there), description=told)

        look()
        yield look


if __name__ == "__main__":
    _help(Path(sys.argv[1]))
