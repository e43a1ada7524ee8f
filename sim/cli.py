"""The command ``unmerge``."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Quiet and offline-friendly, before any of the libraries that read these is imported.
for name, value in {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}.items():
    os.environ.setdefault(name, value)

import typer  # noqa: E402

from clients.errors import InputError, WorkError  # noqa: E402

if TYPE_CHECKING:
    from rich.table import Table

    from sim.scenario.file import Asked
    from sim.scenario.model import Scenario

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Sets = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the scenario, as in --set data.clients=10."),
]
Grids = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key; with a list of values simulate each, as in --set workers.count=[1,2,4].",
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
ScenarioFile = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="A YAML file, or the name of one that comes with unmerge.")
]

Moved = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Where things lie now, or who works, as in --set data.source=FILE or workers.kind=inline.",
    ),
]
Size = Annotated[str | None, typer.Option(metavar="NAME", help="One of the scenario's sizes, as paper; --set wins over it.")]
Out = Annotated[Path | None, typer.Option(help="Run folder to write; must not exist. Default: runs/NAME.")]


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


@app.command()
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
        _resume(resume, overrides)
        return
    assert scenario is not None
    from sim.scenario.file import load

    whole = load(scenario, overrides, size)
    asked = whole.scenario()  # mistakes are told before the rest is imported
    if asked.sweep:
        _play_study(whole, out)
        return
    from sim.report.report import table

    _play(asked, out, table)


@app.command()
def scale(
    scenario: ScenarioFile,
    clients: Annotated[str, typer.Option(metavar="2,5,10", help="How many clients join, at each point of the study.")],
    seeds: Annotated[str | None, typer.Option(metavar="1,2,3", help="Instead of the scenario's seeds.")] = None,
    strategies: Annotated[
        str | None, typer.Option(help="Names or labels, as in average,sift_masks; instead of the scenario's.")
    ] = None,
    overrides: Sets = [],  # noqa: B006
    size: Size = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; must not exist. Default: runs/NAME.")] = None,
) -> None:
    """Play a scenario with more and more clients, nothing tuned twice; every point is charged its full price."""
    from sim.scenario.file import load
    from sim.study.scale import scaled

    _play_study(scaled(load(scenario, overrides, size), clients, seeds, strategies), out)


@app.command()
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
    from sim.study.compare import table, with_strategies

    labelled = bool(HERE.dataset(asked.data, asked.seeds[0]).manifest.label_sets)
    _play(with_strategies(asked, [name.strip() for name in strategies.split(",")], labelled), out, table)


@app.command()
def plan(scenario: ScenarioFile, overrides: Sets = [], size: Size = None, out: Out = None) -> None:  # noqa: B006
    """Price a scenario before it runs: steps, operations, bytes, time. Exit code 1 if there is no room for it."""
    from sim.scenario.file import load

    whole = load(scenario, overrides, size)
    asked = whole.scenario()
    if asked.sweep:
        _price_study(whole, out)
        return
    from sim.life.saved import new_folder
    from sim.plan.needs import refuse
    from sim.plan.plan import plan as price
    from sim.terminal import console

    table, lines, need = price(asked, new_folder(asked, out), console.width)
    console.print(table)
    for line in lines:
        console.print(line, highlight=False, markup=False)
    refuse(need)


@app.command()
def simulate(
    scenario: ScenarioFile,
    overrides: Grids = [],  # noqa: B006
    speeds: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A finished run whose ledger says how fast work is; else a few steps.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; must not exist. Default: runs/NAME-simulation.")] = None,
) -> None:
    """Simulate the deletion service in time: queue, releases, deadlines. Nothing is trained."""
    from sim.service.simulation import folder_of, simulate, write
    from sim.service.table import lines, table
    from sim.terminal import console

    folder = folder_of(scenario, overrides, out)
    content = simulate(scenario, overrides, speeds)
    path = write(content, folder)
    console.print(table(content))
    for line in lines(content):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"Simulation: {path}", soft_wrap=True)


@app.command()
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
    _tell_request(run, f"Forgot {what}.", costs)


@app.command()
def join(
    run: Run,
    client: Annotated[str, typer.Option(help="The client who joins, or comes back, as in u501.")],
    overrides: Moved = [],  # noqa: B006
) -> None:
    """Let a client join a run: one who did not at first, or who comes back after it was forgotten."""
    from sim.run import join as carry_out

    costs = carry_out(run, client, overrides)
    _tell_request(run, f"{client} joined.", costs)


@app.command()
def verify(run: Run, overrides: Moved = []) -> None:  # noqa: B006
    """Rebuild a run's state from its retained clients only, and compare digests; exit code 1 if one differs."""
    from sim.proof.verify import verify as check
    from sim.terminal import console

    findings, traces = check(run, overrides)
    for finding in findings:
        verdict = "equal" if finding.equal else "DIFFERENT"
        digests = f"state {finding.state[:16]}  rebuilt {finding.rebuilt[:16]}"
        console.print(f"seed {finding.seed}  {finding.label:<24} {verdict:<9} {digests}", highlight=False, soft_wrap=True)
    for trace in traces:
        console.print(f"NOT ERASED: {trace}", soft_wrap=True)
    wrong: dict[str, bool | None] = {f"{f.label} (seed {f.seed})": f.equal for f in findings if f.exactness == "exact"}
    if traces:
        raise InputError(f"{run}: {len(traces)} traces of forgotten clients are left")
    _exit_if_different(wrong)
    console.print(f"Verified: {len(wrong)} exact states equal the ones rebuilt without the forgotten clients, bit for bit.")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; the first gets the page.")],
) -> None:
    """Make figures and one HTML page; several runs are compared on the page of the first. Of a study, a table."""
    from sim.study.study import is_study

    if is_study(runs[0]):
        if len(runs) > 1:
            raise InputError("report: a study is told alone")
        _tell_study(runs[0])
        return
    from sim.report.report import write_report
    from sim.terminal import console

    console.print(f"Report: {write_report(runs[0], runs[1:])}", soft_wrap=True)


@app.command()
def strategies() -> None:
    """List the strategies, with exactness and deletion rule."""
    from sim.terminal import console
    from strategies.registry import REGISTRY
    from strategies.strategy import NEEDS, parameters_of

    for name, strategy in REGISTRY.items():
        first = (sys.modules[strategy.__module__].__doc__ or "").split("\n\n")[0].replace("\n", " ")
        keys = ", ".join(parameters_of(strategy).model_fields)
        console.print(f"[bold]{name}[/]  {strategy.exactness}, {strategy.deletion}  ({keys})", highlight=False)
        console.print(f"    A deletion needs {strategy.reaches or NEEDS[strategy.deletion]}.", highlight=False)
        console.print(f"    {first}", highlight=False, markup=False)


@app.command()
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

        for line in reading(load_scenario(scenario, overrides)):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    for name, (_, what) in LOADERS.items():
        console.print(f"[bold]{name}[/]  {what}", highlight=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a scenario, for editors."""
    from sim.scenario.model import schema as make

    typer.echo(json.dumps(make(), indent=1, ensure_ascii=False))


def _play(scenario: "Scenario", out: Path | None, table: Callable[[dict[str, Any], int], "Table"]) -> None:
    """Run a scenario that the machine has room for, and tell its results by a table."""
    from sim.life.saved import new_folder
    from sim.plan.checks import check_machine
    from sim.run import run_scenario

    folder = new_folder(scenario, out)
    check_machine(scenario, folder)
    with _resumable(folder):
        run_scenario(scenario, folder)
    _tell(folder, table)


def _play_study(asked: "Asked", out: Path | None) -> None:
    """Play a scenario with a sweep, and tell its results."""
    from sim.study.study import new_study, play

    study = new_study(asked, out)
    with _resumable(study.folder):
        play(study)
    _tell_study(study.folder)


def _price_study(asked: "Asked", out: Path | None) -> None:
    """Price a scenario with a sweep. Exit code 1 if there is no room for it."""
    from sim.life.saved import new_folder
    from sim.plan.needs import refuse
    from sim.study.price import prices_of, table, totals
    from sim.study.study import at_once
    from sim.study.sweep import points_of
    from sim.terminal import console

    scenario, points = asked.scenario(), points_of(asked)
    prices, need = prices_of(points, new_folder(scenario, out))
    console.print(table(scenario.name, prices))
    for line in totals(prices, at_once(scenario.workers, len(points))):
        console.print(line, highlight=False, markup=False)
    refuse(need)


def _tell_study(folder: Path) -> None:
    """The results of a study; exit code 1 if a state is not what it should be or a strategy failed."""
    from sim.life.system import read_json
    from sim.study.claims import in_words
    from sim.study.results import STUDY, read_rows
    from sim.study.table import tables
    from sim.terminal import console

    rows, about = read_rows(folder), read_json(folder / STUDY)
    for table in tables(about, rows, console.width):
        console.print(table)
    for each in about["verdicts"]:
        console.print(in_words(each), highlight=False, markup=False, soft_wrap=True)
    console.print(f"Study: {folder}", soft_wrap=True)
    exact = [row for row in rows if row["exactness"] == "exact"]
    _exit_if_different({f"{row['label']} at {row['point']}": row["bitwise_equal"] for row in exact})
    if failed := [f"{row['label']} at {row['point']}" for row in rows if row["failed"]]:
        raise InputError(f"{folder}: {', '.join(failed)} failed; what the others came to was written")


def _resume(run: Path, overrides: list[str]) -> None:
    from sim.study.study import is_study, open_study, play

    if is_study(run):
        with _resumable(run):
            play(open_study(run, overrides))
        _tell_study(run)
        return
    from sim.report.report import table
    from sim.run import resume

    with _resumable(run):
        resume(run, overrides)
    _tell(run, table)


@contextmanager
def _resumable(run: Path) -> Iterator[None]:
    """Say how to go on with a run that ends early."""
    try:
        yield
    except BaseException as error:
        if any((run / name).exists() for name in ("ledger.jsonl", "study.yaml")) and not isinstance(error, SystemExit):
            typer.echo(f"Nothing that is done is lost. Go on with: unmerge run --resume {run}", err=True)
        raise


def _tell_request(run: Path, done: str, costs: Mapping[str, Any]) -> None:
    """What a request by command has come to."""
    from sim.report.report import table

    steps = ", ".join(f"{label} {cost.gradient_steps}" for label, cost in costs.items())
    _tell(run, table, f"{done} Gradient steps: {steps}.")


def _positions(rows: str | None) -> list[int]:
    try:
        return [] if rows is None else sorted({int(row) for row in rows.split(",")})
    except ValueError as error:
        raise InputError(f"--rows {rows}: give positions as in 3,9") from error


def _tell(run: Path, table: Callable[[dict[str, Any], int], "Table"], line: str | None = None) -> None:
    """The results of a run by a table; exit code 1 if a state is not what it should be, too many are missing, or a strategy
    failed."""
    from sim.life.system import read_json
    from sim.report.report import Summary
    from sim.terminal import console

    summary = read_json(run / "summary.json")
    console.print(table(summary, console.width))
    _tell_gap(summary)
    checked = Summary.model_validate(summary)
    for each in checked.notes:
        console.print(each, highlight=False, markup=False, soft_wrap=True)
    page = run / "report.html"
    console.print(line or f"{'Report' if page.exists() else 'Results'}: {page if page.exists() else run}", soft_wrap=True)
    _exit_if_different(
        {label: s["bitwise_equal"] for label, s in summary["strategies"].items() if s["exactness"] == "exact"}
    )
    if (most := max(map(len, summary["missing"].values()), default=0)) > summary["allow_missing"]:
        raise InputError(
            f"{run}: {most} clients are missing, and workers.allow_missing is {summary['allow_missing']}; what the others "
            "came to was written"
        )
    if named := [label for label, result in checked.strategies.items() if result.failed]:
        raise InputError(f"{run}: {', '.join(named)} failed; what the others came to was written")


def _tell_gap(summary: dict[str, Any]) -> None:
    """The table of the gap to retraining, where it was asked for."""
    from sim.report.gap import table
    from sim.terminal import console

    if (made := table(summary)) is not None:
        console.print(made)


def _exit_if_different(equal: dict[str, bool | None]) -> None:
    wrong = [label for label, same in equal.items() if same is False]
    if wrong:
        raise InputError(f"not bitwise equal to a rebuild from the retained clients: {', '.join(wrong)}")


def main() -> None:
    """Entry point: one clear message and a non-zero exit for bad input, a traceback only for our own mistakes."""
    try:
        app()
    except (InputError, WorkError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(1) from None
    except OSError as error:  # a full disk, a folder without permission
        typer.echo(f"Error: {error.filename or 'files'}: {error.strerror or error}", err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
