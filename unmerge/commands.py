"""What can be done: the commands, as functions that return objects and frames."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, overload

import pandas as pd

from clients.errors import InputError
from sim import run as playing
from sim.life.saved import new_folder
from sim.plan import checks
from sim.plan import facts as plans
from sim.plan import plan as plan_of
from sim.proof import verify as proofs
from sim.scenario.file import Asked, load_scenario
from sim.scenario.file import load as read
from sim.scenario.model import Scenario
from sim.service import simulation
from sim.study import price
from sim.study import study as studies
from sim.study.scale import scaled
from sim.study.sweep import points_of
from unmerge.asked import Overrides, Source, sets_of, source_of
from unmerge.results import Run, Study

At = Run | str | Path
"""A run, or its folder."""


def load(scenario: Source, overrides: Overrides | None = None) -> Scenario:
    """A scenario, checked whole, with every default filled in.

    Raises:
        InputError: no such file, or not a scenario; one line per mistake, with its key.
    """
    with source_of(scenario) as source:
        return load_scenario(source, sets_of(overrides))


def run(scenario: Source, overrides: Overrides | None = None, out: str | Path | None = None) -> Run:
    """Play a scenario: learn, merge, localize, serve, forget, audit, report.

    Args:
        out: the run folder, which must not exist; default the first free of ``runs/NAME``, ``runs/NAME-2``, ...

    Raises:
        InputError: before any long work, if scenario, data, model, folder or machine do not fit.
        WorkError: client work failed twice, and the run cannot go on without it; ``resume`` tries again.
    """
    asked = load(scenario, overrides)
    if asked.sweep:
        raise InputError("sweep: makes this scenario a study of many runs; unmerge.sweep plays it")
    folder = new_folder(asked, None if out is None else Path(out))
    checks.check_machine(asked, folder)
    return Run(playing.run_scenario(asked, folder))


def sweep(scenario: Source, overrides: Overrides | None = None, out: str | Path | None = None) -> Study:
    """Play a scenario with a section ``sweep``: a run for each combination of its axes' values, and each seed.

    Args:
        out: the study's folder, which must not exist; default the first free of ``runs/NAME``, ``runs/NAME-2``, ...

    Raises:
        InputError: before any long work, if a point, its data or the machine do not fit.
        WorkError: as ``run``.
    """
    with source_of(scenario) as source:
        return _played(read(source, sets_of(overrides)), out)


def scale(
    scenario: Source,
    clients: Sequence[int],
    seeds: Sequence[int] | None = None,
    strategies: Sequence[str] | None = None,
    overrides: Overrides | None = None,
    out: str | Path | None = None,
) -> Study:
    """Play a scenario with more and more clients, nothing tuned twice; every point is charged its full price.

    Args:
        clients: how many join, at each point.
        seeds, strategies: instead of the scenario's.
        out: as of ``sweep``.
    """
    with source_of(scenario) as source:
        asked = read(source, sets_of(overrides))
        chosen = [None if each is None else _listed(each) for each in (seeds, strategies)]
        return _played(scaled(asked, _listed(clients), *chosen), out)


@overload
def resume(run: At, overrides: Overrides | None = None) -> Run: ...


@overload
def resume(run: Study, overrides: Overrides | None = None) -> Study: ...


def resume(run: At | Study, overrides: Overrides | None = None) -> Run | Study:
    """Go on with a run or a study that was stopped; nothing is done where nothing is owed.

    Args:
        overrides: where things lie now (``data.source``, ``model.base``), or who works (``workers....``).
    """
    if isinstance(run, Study):
        studies.play(studies.open_study(run.folder, sets_of(overrides)))
        return run
    found = _run(run)
    playing.resume(found.folder, sets_of(overrides))
    return found


def forget(run: At, client: str, rows: Sequence[int] = (), overrides: Overrides | None = None) -> pd.DataFrame:
    """Carry out a deletion request; what it has cost, a row per strategy, of all seeds.

    Args:
        rows: positions, from 0, of the examples to forget among the client's rows in the source; none: all of it.

    Raises:
        InputError: there is no such client, or it was forgotten already.
    """
    return _frame(playing.forget(_run(run).folder, client, rows, sets_of(overrides)))


def join(run: At, client: str, overrides: Overrides | None = None) -> pd.DataFrame:
    """Let a client join, or come back; what it has cost, as ``forget``.

    Raises:
        InputError: there is no such client, or it is there already.
    """
    return _frame(playing.join(_run(run).folder, client, sets_of(overrides)))


def verify(run: At, overrides: Overrides | None = None) -> pd.DataFrame:
    """Rebuild the state from the clients who are left alone; a row per seed and strategy: label, exactness, the digests
    ``state`` and ``rebuilt``, and whether they are ``equal``.

    Raises:
        InputError: not a finished run, its files are damaged, or traces of forgotten clients are left.
    """
    found = _run(run)
    findings, traces = proofs.verify(found.folder, sets_of(overrides))
    if traces:
        raise InputError(f"{found.folder}: {len(traces)} traces of forgotten clients are left, as {traces[0]}")
    return pd.DataFrame([asdict(each) | {"equal": each.equal} for each in findings])


def plan(scenario: Source, overrides: Overrides | None = None, out: str | Path | None = None) -> dict[str, Any]:
    """Price a scenario, or one with a sweep, before it runs, as ``unmerge plan --format json`` does: steps, operations,
    bytes, seconds."""
    with source_of(scenario) as source:
        whole = read(source, sets_of(overrides))
        asked = whole.scenario()
        folder = new_folder(asked, None if out is None else Path(out))
        if asked.sweep:
            prices, _ = price.prices_of(points_of(whole), folder)
            return price.facts(asked.name, prices, asked.workers)
        return plans.facts(plan_of.plan(asked, folder))


def simulate(scenario: Source, overrides: Overrides | None = None, speeds: At | None = None) -> dict[str, Any]:
    """Simulate the deletion service in time, as ``unmerge simulate`` does; nothing is trained and nothing is written.

    Args:
        overrides: a list of values, for a key that takes none, simulates each.
        speeds: a finished run whose ledger says how fast work is; else a few steps are measured.

    Returns:
        The content of ``simulation.json``.
    """
    with source_of(scenario) as source:
        return simulation.simulate(source, sets_of(overrides), None if speeds is None else _run(speeds).folder)


def _run(run: At) -> Run:
    return run if isinstance(run, Run) else Run(run)


def _played(asked: Asked, out: str | Path | None) -> Study:
    if not asked.scenario().sweep:
        raise InputError("sweep: the scenario has no axes; unmerge.run plays it")
    study = studies.new_study(asked, None if out is None else Path(out))
    studies.play(study)
    return Study(study.folder)


def _listed(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


def _frame(costs: Mapping[str, Any]) -> pd.DataFrame:
    rows = {label: cost.as_facts() for label, cost in costs.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("label")
