"""The command ``unmerge``."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from sim import quiet as quiet  # isort: skip  # before all others

import typer

from clients.errors import InputError
from sim.acting import play_scenario, play_study, price_study, resume_run
from sim.document import document, said, tell, write
from sim.options import Folder, Grids, Moved, Out, Run, ScenarioFile, Sets, Size
from sim.telling import refuse_differences, tell_request, tell_study

if TYPE_CHECKING:
    from rich.table import Table


USAGE, STOPPED = 2, 130
"""Exit codes besides 0 and 1: a command line that is not understood, and Ctrl-C."""
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

F = TypeVar("F", bound=Callable[..., None])


def command(body: F) -> F:
    """A command, which takes --format besides."""
    app.command()(document(body))
    return body


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"unmerge {version('unmerge')}")
        raise typer.Exit


@app.callback()
def unmerge(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Exact unlearning by model merging: learn, merge, localize, serve, forget, verify, report."""


@command
def run(
    scenario: Annotated[
        str | None, typer.Argument(metavar="SCENARIO", help="A YAML file, or the name of one that comes with unmerge.")
    ] = None,
    overrides: Sets = [],  # noqa: B006
    size: Size = None,
    out: Out = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped.")] = None,
) -> None:
    """Play a scenario: learn, merge, localize, serve, forget, audit, report. Or go on with a run that was stopped."""
    if (resume is None) == (scenario is None) or (resume is not None and (out or size) is not None):
        raise InputError("run: give a scenario, or --resume RUN alone")
    if resume is not None:
        resume_run(resume, overrides)
        return
    assert scenario is not None
    from sim.scenario.file import load

    whole = load(scenario, overrides, size)
    asked = whole.scenario()  # mistakes are told before the rest is imported
    if asked.sweep:
        play_study(whole, out)
        return
    from sim.report.table import table

    play_scenario(asked, out, table)


@command
def scale(
    scenario: ScenarioFile,
    clients: Annotated[str, typer.Option(metavar="2,5,10", help="How many clients join, at each point of the study.")],
    seeds: Annotated[str | None, typer.Option(metavar="1,2,3", help="Instead of the scenario's seeds.")] = None,
    strategies: Annotated[
        str | None, typer.Option(help="Names or labels, as in average,sift_masks; instead of the scenario's.")
    ] = None,
    overrides: Sets = [],  # noqa: B006
    size: Size = None,
    out: Folder = None,
) -> None:
    """Play a scenario with more and more clients, nothing tuned twice; every point is charged its full price."""
    from sim.scenario.file import load
    from sim.study.scale import scaled

    play_study(scaled(load(scenario, overrides, size), clients, seeds, strategies), out)


@command
def compare(
    scenario: ScenarioFile,
    strategies: Annotated[str, typer.Option(help="Names or labels, as in average,tall,emr,clamu,sift_masks.")],
    overrides: Sets = [],  # noqa: B006
    out: Out = None,
) -> None:
    """Play a scenario with these strategies instead of its own, and rank them; zero_shot and local are the ends.

    Where answers are labels, label_prior is the floor beside.
    """
    from sim.scenario.file import load_scenario

    asked = load_scenario(scenario, overrides)
    from clients.work.site import HERE
    from sim.study.compare import facts, table, with_strategies

    def told(content: dict[str, Any], width: int) -> "Table":
        tell(**facts(content))
        return table(content, width)

    labelled = bool(HERE.dataset(asked.data, asked.seeds[0]).manifest.label_sets)
    play_scenario(with_strategies(asked, [name.strip() for name in strategies.split(",")], labelled), out, told)


@command
def plan(scenario: ScenarioFile, overrides: Sets = [], size: Size = None, out: Out = None) -> None:  # noqa: B006
    """Price a scenario before it runs: steps, operations, bytes, time. Exit code 1 if there is no room for it."""
    from sim.scenario.file import load

    whole = load(scenario, overrides, size)
    asked = whole.scenario()
    if asked.sweep:
        price_study(whole, out)
        return
    from sim.life.saved import new_folder
    from sim.plan.facts import facts
    from sim.plan.needs import refuse
    from sim.plan.plan import plan as price
    from sim.plan.plan import shown
    from sim.terminal import console

    planned = price(asked, new_folder(asked, out))
    tell(**facts(planned))
    table, lines = shown(planned, console.width)
    console.print(table)
    for line in lines:
        console.print(line, highlight=False, markup=False)
    refuse(planned.need)


@command
def simulate(
    scenario: ScenarioFile,
    overrides: Grids = [],  # noqa: B006
    speeds: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A finished run whose ledger says how fast work is; else a few steps.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; must not exist. Default: runs/NAME-simulation.")] = None,
) -> None:
    """Simulate the deletion service in time: queue, releases, deadlines. Nothing is trained."""
    from sim.service.simulation import folder_of, simulate
    from sim.service.simulation import write as save
    from sim.service.table import lines, table
    from sim.terminal import console

    folder = folder_of(scenario, overrides, out)
    content = simulate(scenario, overrides, speeds)
    path = save(content, folder)
    tell(simulation=path, **content)
    console.print(table(content))
    for line in lines(content):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"Simulation: {path}", soft_wrap=True)


@command
def forget(
    run: Run,
    client: Annotated[str, typer.Option(help="The client to forget, as in u17.")],
    rows: Annotated[
        str | None, typer.Option(metavar="3,9", help="Only these of its examples: positions, from 0, among its rows.")
    ] = None,
    overrides: Moved = [],  # noqa: B006
) -> None:
    """Carry out a deletion request: forget a client, or some of its examples."""
    from sim.run import forget as carry_out

    positions = _positions(rows)
    costs = carry_out(run, client, positions, overrides)
    what = f"{len(positions)} examples of {client}" if positions else client
    tell_request(run, f"Forgot {what}.", costs)


@command
def join(
    run: Run,
    client: Annotated[str, typer.Option(help="The client who joins, or comes back, as in u501.")],
    overrides: Moved = [],  # noqa: B006
) -> None:
    """Let a client join a run: one who did not at first, or who comes back after it was forgotten."""
    from sim.run import join as carry_out

    costs = carry_out(run, client, overrides)
    tell_request(run, f"{client} joined.", costs)


@command
def verify(run: Run, overrides: Moved = []) -> None:  # noqa: B006
    """Rebuild a run's state from its retained clients only, and compare digests; exit code 1 if one differs."""
    from sim.proof.verify import verify as check
    from sim.terminal import console

    findings, traces = check(run, overrides)
    tell(run=run, findings=[asdict(found) | {"equal": found.equal} for found in findings], traces=traces)
    for finding in findings:
        verdict = "equal" if finding.equal else "DIFFERENT"
        digests = f"state {finding.state[:16]}  rebuilt {finding.rebuilt[:16]}"
        console.print(f"seed {finding.seed}  {finding.label:<24} {verdict:<9} {digests}", highlight=False, soft_wrap=True)
    for trace in traces:
        console.print(f"NOT ERASED: {trace}", soft_wrap=True)
    wrong: dict[str, bool | None] = {f"{f.label} (seed {f.seed})": f.equal for f in findings if f.exactness == "exact"}
    if traces:
        raise InputError(f"{run}: {len(traces)} traces of forgotten clients are left")
    refuse_differences(wrong)
    console.print(f"Verified: {len(wrong)} exact states equal the ones rebuilt without the forgotten clients, bit for bit.")


@command
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, the first gets the page; or a study.")],
) -> None:
    """Make figures and one HTML page; several runs are compared on the page of the first, a study has one of its own."""
    from sim.report.report import write_report
    from sim.study.study import is_study
    from sim.terminal import console

    studies = [run for run in runs if is_study(run)]
    if studies and len(runs) > 1:
        raise InputError(f"report: {studies[0]} is a study; give it alone, or runs alone")
    if studies:
        tell_study(runs[0])
        return
    page = write_report(runs[0], runs[1:])
    tell(report=page)
    console.print(f"Report: {page}", soft_wrap=True)


@command
def export(
    run: Run,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; must not exist.")],
    strategy: Annotated[str, typer.Option(help="The strategy by its label, as in average.")],
    client: Annotated[str | None, typer.Option(help="Whose model; default what anybody is served.")] = None,
    seed: Annotated[int | None, typer.Option(help="One of the run's seeds; default the first.")] = None,
    overrides: Moved = [],  # noqa: B006
) -> None:
    """Write a served model as a folder that transformers or peft opens, with a model card."""
    from sim.export.folder import export as save
    from sim.export.folder import new
    from sim.export.serving import serving
    from sim.terminal import console

    new(folder)
    served = serving(run, strategy, client, seed, overrides)
    files = save(served, folder, client is not None)
    tell(export=folder, strategy=strategy, seed=served.life.system.seed, opens_with=served.library.auto, files=files)
    console.print(f"Exported: {folder}", soft_wrap=True)


@command
def strategies() -> None:
    """List the strategies, with exactness and deletion rule."""
    from sim.terminal import console
    from strategies.registry import REGISTRY
    from strategies.strategy import NEEDS, parameters_of

    rows = []
    for name, strategy in REGISTRY.items():
        first = (sys.modules[strategy.__module__].__doc__ or "").split("\n\n")[0].replace("\n", " ")
        keys = ", ".join(parameters_of(strategy).model_fields)
        needs = strategy.reaches or NEEDS[strategy.deletion]
        facts = {"name": name, "exactness": strategy.exactness, "deletion": strategy.deletion, "needs": needs, "what": first}
        rows.append(facts | {"parameters": keys.split(", ")})
        console.print(f"[bold]{name}[/]  {strategy.exactness}, {strategy.deletion}  ({keys})", highlight=False)
        console.print(f"    A deletion needs {needs}.", highlight=False)
        console.print(f"    {first}", highlight=False, markup=False)
    tell(strategies=rows)


@command
def datasets(
    scenario: Annotated[
        str | None, typer.Argument(metavar="[SCENARIO]", help="Tell what is read for it, and run nothing.")
    ] = None,
    overrides: Sets = [],  # noqa: B006
) -> None:
    """List the data families; or tell what is read for a scenario, and show what the model is given."""
    from clients.data.loaders import LOADERS
    from sim.terminal import console

    if scenario is not None:
        from sim.plan.reading import reading
        from sim.scenario.file import load_scenario

        told = []
        for line in reading(load_scenario(scenario, overrides)):
            told.append(line)
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        tell(lines=told)
        return
    tell(families=[{"name": name, "what": what} for name, (_, what) in LOADERS.items()])
    for name, (_, what) in LOADERS.items():
        console.print(f"[bold]{name}[/]  {what}", highlight=False)


@command
def schema() -> None:
    """Print the JSON Schema of a scenario, for editors."""
    from sim.scenario.model import schema as make

    made = make()
    tell(**made)
    typer.echo(json.dumps(made, indent=1, ensure_ascii=False))


def _positions(rows: str | None) -> list[int]:
    try:
        return [] if rows is None else sorted({int(row) for row in rows.split(",")})
    except ValueError as error:
        raise InputError(f"--rows {rows}: give positions as in 3,9") from error


def main() -> None:
    """Entry point: one clear message and a non-zero exit for bad input, a traceback only for our own mistakes."""
    try:
        app()
    except (Exception, KeyboardInterrupt) as error:
        if (told := said(error)) is None:
            raise
        text, code = told
        typer.echo(text if code == STOPPED else f"Error: {text}", err=True)
        raise SystemExit(code) from None
    except SystemExit as ended:
        if ended.code == USAGE and _asks_for_json(sys.argv):
            write({"error": "the command line is not understood; stderr says why"})
        raise


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether a command line that is not understood has --format json in it."""
    return "--format=json" in arguments or ("--format", "json") in pairwise(arguments)


if __name__ == "__main__":
    main()
