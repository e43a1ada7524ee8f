"""The story of a run: learn, merge, localize, serve, play the stream, prove, report.

All that is ever done to a run is one thing: open what is there, carry out what is owed, commit. A new run owes everything, a
killed one the rest, a request by command one event.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal

from clients.errors import InputError
from clients.exact.files import write_whole
from clients.settings import Settings
from sim.attacks import gap
from sim.life import record as records
from sim.life import saved, summary
from sim.life.cost import Cost
from sim.life.learning import Costs
from sim.life.life import Life, open_life
from sim.life.lock import locked
from sim.life.playing import is_learning, join_all, owed, play
from sim.life.record import Record
from sim.life.requesting import named
from sim.life.saved import Opened
from sim.life.system import System, write_json
from sim.plan.checks import prepare
from sim.proof import audit
from sim.report.report import write_report
from sim.scenario.model import Scenario
from sim.scenario.workers import Kind, WorkersSpec
from sim.stream.requests import FORGET, JOIN, Request
from sim.terminal import phase
from sim.workers import opening
from sim.workers.workers import Workers

Open = Callable[[WorkersSpec, Kind, Settings], AbstractContextManager[Workers]]
Phase = Literal["learning", "stream", "audit"]
Through = Callable[[Phase, Workers, Life], AbstractContextManager[Workers]]
"""Who stands between a run and its workers in a phase: in a study, a store of parts that its points share."""
PROOFS = {"gap": gap.measured, "bitwise": audit.audited}


def nobody(phase: Phase, workers: Workers, life: Life) -> AbstractContextManager[Workers]:
    """Nobody stands between a run and its workers."""
    return nullcontext(workers)


def run_scenario(
    scenario: Scenario, out: Path | None = None, open_workers: Open = opening.open_workers, through: Through = nobody
) -> Path:
    """Play every seed of a scenario and write a run folder.

    Args:
        out: the run folder; default under ``runs/``.
        open_workers: who carries out client work; under ``flwr run``, the nodes of its Grid.
        through: who stands between.

    Returns:
        The run folder.

    Raises:
        InputError: before any long work, if data, model or folder do not fit.
    """
    if scenario.sweep:
        raise InputError("sweep: makes this scenario a study of many runs; unmerge run and unmerge plan know those")
    run = saved.new_folder(scenario, out)
    for seed in scenario.seeds:  # all bad input shows here, before anything is written or tuned
        prepare(scenario, seed)
    saved.make(run)
    with locked(run):
        _live(saved.begin(run, scenario), open_workers, through)
    return run


def resume(
    run: Path, overrides: Sequence[str] = (), open_workers: Open = opening.open_workers, through: Through = nobody
) -> None:
    """Go on where a run stood when its process ended; nothing is done if nothing is owed.

    Raises:
        InputError: not a run folder, or damaged.
    """
    with locked(run):
        _live(saved.open_run(run, overrides), open_workers, through)


def forget(run: Path, client: str, rows: Sequence[int] = (), overrides: Sequence[str] = ()) -> Costs:
    """Carry out a deletion request to a run, in every seed; the cost by strategy label, of all seeds.

    Args:
        rows: positions of the examples to forget among the client's rows in the source as it is now; none: all of it.

    Raises:
        InputError: not a run folder, damaged state, or no such client (any more); the ledger says so too.
    """
    return _ask(run, FORGET, client, rows, overrides)


def join(run: Path, client: str, overrides: Sequence[str] = ()) -> Costs:
    """Let a client join, or come back, in every seed; the cost by strategy label, of all seeds.

    Raises:
        InputError: as ``forget``.
    """
    return _ask(run, JOIN, client, (), overrides)


def _ask(run: Path, kind: Any, client: str, rows: Sequence[int], overrides: Sequence[str]) -> Costs:
    """What is owed is carried out first; a request that is owed already is not asked twice."""
    with locked(run):
        opened = saved.open_run(run, overrides)
        owes = not opened.finished or saved.is_owed(opened)
        last = opened.commands[-1] if owes and opened.commands else None
        if owes:
            costs = _live(opened, opening.open_workers)
            if last is not None and (last.kind, last.client, last.partial) == (kind, client, bool(rows)):
                return costs
            opened = saved.open_run(run, overrides)
        saved.ask(opened, named(opened, Request(client, opened.scenario.stream.days, kind), rows))
        return _live(opened, opening.open_workers)


def _live(opened: Opened, open_workers: Open, through: Through = nobody) -> Costs:
    """Carry out all that is owed in every seed, then sum up; what the last release cost, by label, of all seeds."""
    total: Costs = {}
    done: list[Record] = []
    rows: list[dict[str, Any]] = []
    with opening.one_ray(opened.scenario.workers) if open_workers is opening.open_workers else nullcontext():
        for seed in opened.scenario.seeds:
            life = open_life(opened.run, opened.scenario, seed, opened.ledger, opened.commands)
            if owed(life) is not None or _proofs(life):
                _play(life, open_workers, through)
            total = {label: cost.then(total.get(label, Cost())) for label, cost in life.released.items()} or total
            done.append(life.record)
            rows += life.rows
    _finish(opened, life.system, done, rows)
    return total


def _play(life: Life, open_workers: Open, through: Through) -> None:
    """One seed: learning, then the stream and what was asked, then the proofs, each with its own workers."""
    spec, settings = life.system.scenario.workers, life.system.settings
    with ExitStack() as workers_open:
        kind = spec.learn if is_learning(life) else spec.stream
        with phase(f"starting {kind} workers"):
            workers = workers_open.enter_context(open_workers(spec, kind, settings))
        if is_learning(life):
            with through("learning", workers, life) as between:
                join_all(life, between)
        if kind != spec.stream:
            workers_open.close()
            with phase(f"starting {spec.stream} workers"):
                workers = workers_open.enter_context(open_workers(spec, spec.stream, settings))
        with through("stream", workers, life) as between:
            play(life, between)
        with through("audit", workers, life) as between:
            for proof in _proofs(life):
                PROOFS[proof](life, between)


def _proofs(life: Life) -> list[str]:
    """The audits that the scenario asks for and that were not made of the state as it stands."""
    return [name for name in PROOFS if name in life.system.scenario.audit and name not in life.record["proved"]]


def _finish(opened: Opened, system: System, done: list[Record], rows: list[dict[str, Any]]) -> None:
    """Write metrics, the summary and, if asked for, figures and report."""
    write_whole(opened.run / records.ROWS, records.rows_as_bytes(rows))
    if saved.is_open(opened):
        opened.ledger.append(saved.END, wall_seconds=round(sum(record["seconds"] for record in done), 3))
        opened.ledger.commit()
    saved.answered(opened)
    write_json(opened.run / saved.SUMMARY, summary.summarize(system, done, rows, opened.ledger))
    if opened.scenario.report.html:
        with phase("drawing the report"):
            write_report(opened.run)
