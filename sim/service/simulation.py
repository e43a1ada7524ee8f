"""``unmerge simulate``: what a service would take, for a scenario and for grids of its keys; nothing is trained.

Only a few steps are measured, if no finished run says how fast work is.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clients.errors import InputError
from clients.work.site import open_site
from sim.life.saved import make, new_folder
from sim.life.system import Rule, check_data, strategies_of, write_json
from sim.plan.rehearsal import Rehearsal
from sim.plan.sizes import Sizes, sizes_of
from sim.plan.speeds import calibrate
from sim.scenario.file import load_scenario
from sim.scenario.model import Scenario
from sim.scenario.stream import ReleaseSpec
from sim.service import absent, prices, service, speeds
from sim.service.service import Service
from sim.service.speeds import Seconds
from sim.stream.clock import DAY, time_to_forget
from sim.stream.drawing import Drawn
from sim.stream.releasing import check, facts
from sim.terminal import phase

SIMULATION = "simulation.json"
LADDER = tuple(
    ReleaseSpec.model_validate(plan) for plan in ({"every": 1}, *({"days": days} for days in (1, 2, 5, 10, 20, 30, 40)))
)
"""Release plans that are compared, beside the scenario's own."""
DEADLINE = 45.0
"""Days, where the scenario has none."""

Point = tuple[dict[str, Any], Scenario]
"""What was set by a grid, and the scenario with it."""


def points(source: str, overrides: Sequence[str]) -> list[Point]:
    """The scenario, or one for each combination of the lists that overrides give to keys that take no list.

    Raises:
        InputError: it is no scenario.
    """
    fixed, grids = list[str](), list[tuple[str, list[str]]]()
    for override in overrides:
        name, _, text = override.partition("=")
        values = _items(text)
        if values and not _loads(source, [*fixed, *(grid[1][0] for grid in grids), override]):
            grids.append((name, [f"{name}={_flow(value)}" for value in values]))
        else:
            fixed.append(override)
    found = []
    for chosen in itertools.product(*(each for _, each in grids)):
        told = {name: yaml.safe_load(text.partition("=")[2]) for (name, _), text in zip(grids, chosen, strict=True)}
        found.append((told, load_scenario(source, [*fixed, *chosen])))
    return found


def _items(text: str) -> list[Any]:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return []
    return value if isinstance(value, list) else []


def _loads(source: str, overrides: Sequence[str]) -> bool:
    try:
        load_scenario(source, overrides)
    except InputError:
        return False
    return True


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")


@dataclass(frozen=True)
class Machine:
    """What prices follow from: sizes of the model, and seconds of work."""

    sizes: Sizes
    seconds: Seconds


def simulate(source: str, overrides: Sequence[str], run: Path | None) -> dict[str, Any]:
    """The content of ``simulation.json``.

    Args:
        run: a finished run that says how fast work is; None: it is measured now.

    Raises:
        InputError: the scenario is none or cannot be simulated, or no strategy can meet its deadline.
        WorkError: a client cannot be tuned or scored.
    """
    grid = points(source, overrides)
    for _, scenario in grid:
        service.check(scenario)
    streams = [service.stream_of(scenario, scenario.seeds[0]) for _, scenario in grid]
    for (_, scenario), stream in zip(grid, streams, strict=True):
        check(scenario.stream, stream)
    machine = machine_of(grid[0][1], run)
    told = []
    with phase("simulating", len(grid) * (2 + len(LADDER))) as done:
        for (chosen, scenario), stream in zip(grid, streams, strict=True):
            told.append({"set": chosen} | _point(scenario, stream, machine, done))
    first = grid[0][1]
    content = {
        "name": first.name,
        "scenario_digest": first.digest(),
        "seed": first.seeds[0],
        "speeds": "measured" if run is None else str(run),
        "seconds": {
            "tuning": {str(rule): each for rule, each in machine.seconds.tuning.items()},
            "step": machine.seconds.mask,
            "score": machine.seconds.score,
        },
        **{key: value for key, value in told[0].items() if key != "set"},
    }
    return content | ({"points": told} if len(told) > 1 else {})


def machine_of(scenario: Scenario, run: Path | None) -> Machine:
    """Sizes of the scenario's model, and how fast work is here or was in a run."""
    opened = service.without_population(scenario)
    seed = scenario.seeds[0]
    check_data(opened, seed)
    with phase("opening the base model (pretrained at first use)"):
        site = open_site(opened.settings(seed))
    sizes = sizes_of(site, opened)
    rules: set[Rule] = {strategy.rule for strategy in strategies_of(scenario, seed).values()}
    if run is not None:
        return Machine(sizes, speeds.told(run, scenario, rules))
    with phase("measuring a few steps"):
        sizes, measured = calibrate(opened, site, sizes)
    return Machine(sizes, speeds.measured(measured, scenario))


def _point(scenario: Scenario, stream: Drawn, machine: Machine, done: Callable[[], None]) -> dict[str, Any]:
    spec = scenario.stream
    rehearsal = Rehearsal(scenario, machine.sizes, scenario.seeds[0])
    assert spec.join is not None
    meant = service.carried_out(stream, spec.join)
    mine = service.served(scenario, stream, meant)
    each_of = absent.by_label(scenario, mine, rehearsal)
    found = {label: service.price(scenario, rehearsal, label, own, None, machine.seconds) for label, own in each_of.items()}
    _check_deadline(scenario, mine, found)
    done()
    kept = {label: prices.storage(rehearsal, label, spec.join) for label in found}
    deadline = spec.deadline or DEADLINE
    needed = {label: service.workers_needed(each_of[label], each, deadline) for label, each in found.items()}
    names = {spec.label: spec.strategy for spec in scenario.strategies}
    strategies = {
        label: {"strategy": names[label]}
        | service.result(scenario, each_of[label], each, kept[label])
        | {"workers_needed": needed[label]}
        for label, each in found.items()
    }
    done()
    return {
        "clients": spec.join,
        "days": spec.days,
        "deadline": deadline,
        "workers": scenario.workers.count,
        "release": facts(spec.release),
        "estimated": not service.is_small(scenario, mine),
        "strategies": strategies,
        "policies": _policies(scenario, mine, rehearsal, machine, done),
    }


def _policies(
    scenario: Scenario, own: Service, rehearsal: Rehearsal, machine: Machine, done: Callable[[], None]
) -> list[dict[str, Any]]:
    """Of each release plan what a deletion costs and how long it takes, by strategy."""
    deadline, workers, found = scenario.stream.deadline or DEADLINE, scenario.workers.count, []
    for plan in service.plans(scenario, LADDER):
        try:
            mine = service.served(scenario, own.stream, own.meant, plan)
        except InputError:  # a plan of the ladder under which nobody is in time
            done()
            continue
        told = {}
        for label, service_of in absent.by_label(scenario, mine, rehearsal).items():
            each = service.price(scenario, rehearsal, label, service_of, plan, machine.seconds)
            days, _ = service.waited(service_of, each, workers)
            told[label] = {
                "time_to_forget": time_to_forget(days, deadline),
                "gradient_steps_per_deletion": round(float(each.steps.sum()) / max(len(days), 1), 3),
            }
        found.append({"release": facts(plan), "releases": len(mine.due), "strategies": told})
        done()
    return found


def _check_deadline(scenario: Scenario, mine: Service, found: Mapping[str, prices.Priced]) -> None:
    """Raise InputError if no strategy could meet the deadline, with any number of workers and nobody before it."""
    deadline = scenario.stream.deadline
    if deadline is None or not len(mine.due):
        return
    shortest = {label: float(each.lengths(2**40)[1].min()) / DAY for label, each in found.items()}
    label, days = min(shortest.items(), key=lambda each: each[1])
    if days > deadline:
        raise InputError(
            f"stream.deadline: {deadline:g} days cannot be met by any release plan: even {label} takes {days:.3g} days for "
            "its shortest release, however many workers there are"
        )


def folder_of(source: str, overrides: Sequence[str], out: Path | None) -> Path:
    """The folder to write to: ``out``, or the first free of ``runs/NAME-simulation``, ...

    Raises:
        InputError: the scenario is none, or ``out`` exists already.
    """
    scenario = points(source, overrides)[0][1]
    return new_folder(scenario.model_copy(update={"name": f"{scenario.name}-simulation"}), out)


def write(content: dict[str, Any], folder: Path) -> Path:
    """Write ``simulation.json`` and the figures."""
    from sim.service.figures import draw

    make(folder)
    write_json(folder / SIMULATION, content)
    draw(content, folder / "figures")
    return folder / SIMULATION
