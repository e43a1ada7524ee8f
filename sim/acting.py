"""How commands act: a scenario or a study is played, priced or gone on with, and its results are told."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.document import tell
from sim.telling import resumable, tell_run, tell_study

if TYPE_CHECKING:
    from rich.table import Table

    from sim.scenario.file import Asked
    from sim.scenario.model import Scenario


def play_scenario(scenario: "Scenario", out: Path | None, table: Callable[[dict[str, Any], int], "Table"]) -> None:
    """Run a scenario that the machine has room for, and tell its results by a table."""
    from sim.life.saved import new_folder
    from sim.plan.checks import check_machine
    from sim.run import run_scenario

    folder = new_folder(scenario, out)
    check_machine(scenario, folder)
    with resumable(folder):
        run_scenario(scenario, folder)
    tell_run(folder, table)


def play_study(asked: "Asked", out: Path | None) -> None:
    """Play a scenario with a sweep, and tell its results."""
    from sim.study.study import new_study, play

    study = new_study(asked, out)
    with resumable(study.folder):
        play(study)
    tell_study(study.folder, study.scenario.report.html)


def price_study(asked: "Asked", out: Path | None) -> None:
    """Price a scenario with a sweep. Exit code 1 if there is no room for it."""
    from sim.life.saved import new_folder
    from sim.plan.needs import refuse
    from sim.study.price import facts, prices_of, table, totals
    from sim.study.sweep import points_of
    from sim.terminal import console

    scenario, points = asked.scenario(), points_of(asked)
    prices, need = prices_of(points, new_folder(scenario, out))
    tell(**facts(scenario.name, prices, scenario.workers))
    console.print(table(scenario.name, prices))
    for line in totals(prices, scenario.workers):
        console.print(line, highlight=False, markup=False)
    refuse(need)


def resume_run(run: Path, overrides: list[str]) -> None:
    """Go on with a run or a study that was stopped, and tell its results."""
    from sim.study.study import is_study, open_study, play

    if is_study(run):
        study = open_study(run, overrides)
        with resumable(run):
            play(study)
        tell_study(run, study.scenario.report.html)
        return
    from sim.report.table import table
    from sim.run import resume

    with resumable(run):
        resume(run, overrides)
    tell_run(run, table)
