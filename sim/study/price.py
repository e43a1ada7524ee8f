"""What a study takes on this machine: each point by itself, and what is left of it where clients are tuned once for all.

Speeds are measured once for all points that differ in their streams alone; the others share the time for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from clients import outside
from clients.exact import digest
from clients.work.site import open_site
from sim.life.system import Rule, check_data, check_model
from sim.plan import machine, needs, work
from sim.plan.needs import Need
from sim.plan.plan import clock, run_seconds
from sim.plan.rehearsal import Rehearsal, rehearsals_of
from sim.plan.seconds import PROGRAM, count_of, elapsed, seconds, served, starting
from sim.plan.sizes import Members, Sizes, sizes_of
from sim.plan.speeds import Speeds, measured
from sim.scenario.model import Scenario
from sim.scenario.workers import WorkersSpec
from sim.study.study import at_once
from sim.study.sweep import Point, shown
from sim.terminal import phase
from strategies.work import Work

Seen = dict[tuple[str, Rule, str], set[str]]
"""Who has been tuned: by what decides a vector beside the client, by rule, and by phase."""


@dataclass(frozen=True)
class Price:
    """What one point takes.

    Attributes:
        clients: how many join.
        tunings: all, as it is charged, and those that are really done in the study.
        alone, here: seconds of work of one worker, if it were a run of its own, and in the study.
        server: seconds of the server that are in both.
    """

    point: Point
    clients: int
    tunings: tuple[int, int]
    alone: float
    here: float
    server: float

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        done = {"charged": self.tunings[0], "done": self.tunings[1]}
        seconds = {"alone": self.alone, "here": self.here}
        about = {"point": self.point.name, "axes": dict(self.point.axes), "seed": self.point.seed, "clients": self.clients}
        return about | {"client_tunings": done, "seconds": seconds}


def facts(name: str, prices: Sequence[Price], spec: WorkersSpec) -> dict[str, Any]:
    """What a study takes, as JSON values."""
    return {"name": name, "seconds": seconds_of(prices, spec), "points": [price.facts() for price in prices]}


def seconds_of(prices: Sequence[Price], spec: WorkersSpec) -> float:
    """Of the clock, for the whole study.

    Where several processes play points, whoever plays the longest finds tuned whom the others have tuned meanwhile.
    """
    processes = at_once(spec, len(prices))
    if processes > 1:
        first, *others = sorted(prices, key=lambda price: -price.here)
        found = max(price.alone - price.here for price in others)
        return PROGRAM + max(sum(price.here for price in prices) / processes, first.here - found)
    cores = machine.cores()
    return PROGRAM + sum(starting(spec) + elapsed(price.here - price.server, price.server, spec, cores) for price in prices)


def prices_of(points: Sequence[Point], out: Path) -> tuple[list[Price], Need]:
    """The price of each point, in the order in which they are played, and what the whole study needs of the machine.

    Raises:
        InputError: data or base model do not fit.
        WorkError: a client cannot be tuned or scored.
    """
    once: dict[str, tuple[Sizes, Speeds]] = {}
    abouts = [_about(point.scenario) for point in points]
    seen: Seen = {}
    found, wanted = [], []
    for point, about in zip(points, abouts, strict=True):
        scenario, seed = point.scenario, point.seed
        check_data(scenario, seed)
        with phase("opening the base model (pretrained at first use)"):
            site = open_site(scenario.settings(seed))
        check_model(scenario, site)
        sizes = sizes_of(site, scenario)
        if about not in once:
            with phase(f"measuring a few steps of {point.name}"):
                once[about] = measured(scenario, site, sizes, partial(run_seconds, scenario), len(set(abouts)))
        known, speeds = once[about]
        rehearsal = rehearsals_of(scenario, replace(known, clients=sizes.clients))[0]
        found.append(_price(point, rehearsal, speeds, seen, digest.of_json([about, seed])))
        wanted.append(needs.need_of([rehearsal], out, speeds.peak))
    return found, _together(wanted)


def _about(scenario: Scenario) -> str:
    """What decides how long a client's work takes."""
    return digest.of_json(scenario.model_dump(mode="json", exclude={"stream", "seeds", "report", "workers", "audit"}))


def _price(point: Point, rehearsal: Rehearsal, speeds: Speeds, seen: Seen, about: str) -> Price:
    everybody, spec = rehearsal.sizes.clients, rehearsal.scenario.tuning
    done, rules = work.of_run(rehearsal, everybody)
    spared = spared_tunings(rehearsal, everybody, rules, seen, about)
    server = served(work.pairs_of_run(rehearsal, everybody), speeds)
    alone = seconds(done, rules, spec, speeds) + server
    here = alone - seconds(Work(), spared, spec, speeds)
    tunings = sum(rules.values())
    return Price(point, len(everybody), (tunings, tunings - sum(spared.values())), alone, here, server)


def spared_tunings(
    rehearsal: Rehearsal, everybody: Members, rules: Iterable[Rule], seen: Seen, about: str
) -> dict[Rule, int]:
    """Tunings, by rule, of clients whom an earlier point has tuned in the same phase; who is tuned now is noted.

    Where deletions may share, who leaves has been tuned too, when all were learned.
    """
    releases = work.releases_of(rehearsal.scenario, everybody, rehearsal.seed)
    stayed = work.remaining(releases, everybody)
    phases = {"learning": everybody} | ({"audit": stayed} if "bitwise" in rehearsal.scenario.audit else {})
    spared: dict[Rule, int] = {}
    for rule in rules:
        if rule is None or outside.is_outside(rule):
            continue
        for name, clients in phases.items():
            there = seen.setdefault((about, rule, name), set())
            spared[rule] = spared.get(rule, 0) + len(there.intersection(clients))
            there.update(clients)
        if rehearsal.scenario.workers.share_deletions:
            spared[rule] += sum(work.derived(rehearsal, rule, release) for release in releases)
    return spared


def _together(each: Sequence[Need]) -> Need:
    """All runs lie on the disk at the end; one is in memory at a time."""
    folder = next(iter(each[0].disk))
    disk = {folder: (sum(need.disk[folder][0] for need in each), each[0].disk[folder][1])}
    largest = max(each, key=lambda need: need.memory[0])
    most = max(each, key=lambda need: need.most_disk[1])
    return Need(disk, largest.memory, most.most_disk, largest.most_memory)


def table(name: str, prices: Sequence[Price]) -> Table:
    """A row per point."""
    title = f"{name}: {len(prices)} points, those of most clients first"
    made = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    axes = list(prices[0].point.axes)
    for heading in (*axes, "seed", "clients\nwho join", "clients tuned\nalone / here", "time alone", "time here"):
        made.add_column(Text(heading), justify="right", overflow="fold")
    for price in prices:
        values = [str(shown(price.point.axes[axis])) for axis in axes]
        tuned = f"{price.tunings[0]:,} / {price.tunings[1]:,}"
        cells = [*values, str(price.point.seed), f"{price.clients:,}", tuned, clock(price.alone), clock(price.here)]
        made.add_row(*map(Text, cells))
    return made


def totals(prices: Sequence[Price], spec: WorkersSpec) -> list[str]:
    """What the whole study takes, and how that is counted."""
    alone, most = sum(price.alone for price in prices), max(price.alone for price in prices)
    processes = at_once(spec, len(prices))
    who = (
        f"Every point is played by one process, {processes} at a time"
        if processes > 1
        else f"One point at a time is played, by {count_of(spec.stream, spec)} workers"
    )
    return [
        f"The study, each client tuned once for all points: {sum(price.tunings[1] for price in prices):,} clients tuned, "
        f"{clock(seconds_of(prices, spec))}; its points one after another {clock(alone)} of one worker, the largest "
        f"{clock(most)}.",
        f"{who}, and charged its full price. Counted: client work, and starting.",
    ]
