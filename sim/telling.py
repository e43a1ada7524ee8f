"""How a command tells what a run or a study has come to: tables, page, the document for ``--format json``, exit code.

The exit code is 1, by an ``InputError``, where a state is not what it should be, too many clients are missing, or a strategy
failed. Everything was written before.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from clients.errors import InputError
from sim.document import tell

if TYPE_CHECKING:
    from rich.table import Table


def tell_run(run: Path, table: Callable[[dict[str, Any], int], "Table"], line: str | None = None) -> None:
    """The results of a run by a table; exit code 1 if a state is not what it should be, too many are missing, or a strategy
    failed."""
    from sim.life.system import read_json
    from sim.report.summary import Summary
    from sim.terminal import console

    summary = read_json(run / "summary.json")
    console.print(table(summary, console.width))
    _gap(summary)
    checked = Summary.model_validate(summary)
    for each in checked.notes:
        console.print(each, highlight=False, markup=False, soft_wrap=True)
    page = run / "report.html"
    tell(run=run, report=page if page.exists() else None, **summary)
    console.print(line or f"{'Report' if page.exists() else 'Results'}: {page if page.exists() else run}", soft_wrap=True)
    refuse_differences(
        {label: s["bitwise_equal"] for label, s in summary["strategies"].items() if s["exactness"] == "exact"}
    )
    if (most := max(map(len, summary["missing"].values()), default=0)) > summary["allow_missing"]:
        raise InputError(
            f"{run}: {most} clients are missing, and workers.allow_missing is {summary['allow_missing']}; what the others "
            "came to was written"
        )
    refuse_failures(run, [label for label, result in checked.strategies.items() if result.failed])


def tell_request(run: Path, done: str, costs: Mapping[str, Any]) -> None:
    """What a request by command has come to."""
    from sim.report.table import table

    tell(costs={label: cost.as_facts() for label, cost in costs.items()})
    steps = ", ".join(f"{label} {cost.gradient_steps}" for label, cost in costs.items())
    tell_run(run, table, f"{done} Gradient steps: {steps}.")


def tell_study(folder: Path, page: bool = True) -> None:
    """The results of a study by tables, and by its page if it is to have one; exit code 1 if a state is not what it should
    be or a strategy failed."""
    from sim.life.system import read_json
    from sim.report.study_page import write_study_report
    from sim.report.study_results import STUDY
    from sim.study.claims import in_words
    from sim.study.results import read_rows
    from sim.study.table import tables
    from sim.terminal import console

    rows, content = read_rows(folder), read_json(folder / STUDY)
    tell(study=folder, **content, results=rows)
    for table in tables(content, rows, console.width):
        console.print(table)
    for each in content["verdicts"]:
        console.print(in_words(each), highlight=False, markup=False, soft_wrap=True)
    if page:
        report = write_study_report(folder)
        tell(report=report)
    console.print(f"Report: {report}" if page else f"Study: {folder}", soft_wrap=True)
    exact = [row for row in rows if row["exactness"] == "exact"]
    refuse_differences({f"{row['label']} at {row['point']}": row["bitwise_equal"] for row in exact})
    refuse_failures(folder, [f"{row['label']} at {row['point']}" for row in rows if row["failed"]])


def _gap(summary: dict[str, Any]) -> None:
    """The table of the gap to retraining, where it was asked for."""
    from sim.report.gap import table
    from sim.terminal import console

    if (made := table(summary)) is not None:
        console.print(made)


def refuse_differences(equal: Mapping[str, bool | None]) -> None:
    """Raise InputError, with the names of those whose state is another than that of a rebuild; None was not compared."""
    wrong = [label for label, same in equal.items() if same is False]
    if wrong:
        raise InputError(f"not bitwise equal to a rebuild from the retained clients: {', '.join(wrong)}")


def refuse_failures(folder: Path, failed: Sequence[str]) -> None:
    """Raise InputError, with the names of those who failed."""
    if failed:
        raise InputError(f"{folder}: {', '.join(failed)} failed; what the others came to was written")


@contextmanager
def resumable(run: Path) -> Iterator[None]:
    """Say how to go on with a run that ends early."""
    try:
        yield
    except BaseException as error:
        if any((run / name).exists() for name in ("ledger.jsonl", "study.yaml")) and not isinstance(error, SystemExit):
            typer.echo(f"Nothing that is done is lost. Go on with: unmerge run --resume {run}", err=True)
        raise
