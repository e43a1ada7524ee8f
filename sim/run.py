"""The story of a run: learn, merge, localize, serve, play the stream, prove, report; and of one more request to it."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

from clients.errors import InputError
from clients.settings import Settings
from sim.attacks import gap
from sim.life import saved, summary
from sim.life.cost import Cost
from sim.life.deletion import carry_out
from sim.life.evaluation import evaluate
from sim.life.learning import Costs
from sim.life.ledger import Ledger
from sim.life.lock import locked
from sim.life.playing import first_release, play_stream, tune_all
from sim.life.system import System, build, write_json
from sim.plan.checks import prepare
from sim.proof.audit import audited
from sim.report.report import write_report
from sim.scenario.model import Scenario
from sim.scenario.workers import Kind, WorkersSpec
from sim.stream.requests import Request
from sim.terminal import phase
from sim.workers import opening
from sim.workers.workers import Workers

Open = Callable[[WorkersSpec, Kind, Settings], AbstractContextManager[Workers]]
Record = dict[str, Any]


def run_scenario(scenario: Scenario, out: Path | None = None, open_workers: Open = opening.open_workers) -> Path:
    """Play every seed of a scenario and write a run folder.

    Args:
        out: the run folder; default under ``runs/``.
        open_workers: who carries out client work; under ``flwr run``, the nodes of its Grid.

    Returns:
        The run folder.

    Raises:
        InputError: before any long work, if data, model or folder do not fit.
    """
    run, started = saved.new_folder(scenario, out), time.perf_counter()
    for seed in scenario.seeds:  # all bad input shows here, before anything is written or tuned
        prepare(scenario, seed)
    saved.make(run)
    with locked(run), opening.one_ray(scenario.workers) if open_workers is opening.open_workers else nullcontext():
        ledger, records, rows = saved.begin(run, scenario), [], []
        for seed in scenario.seeds:
            system, record, measured = _play(scenario, seed, run, ledger, open_workers)
            records.append(record)
            rows += measured
            summary.write_record(run, record)
        _finish(run, system, records, rows, ledger, started)
    return run


def _play(
    scenario: Scenario, seed: int, run: Path, ledger: Ledger, open_workers: Open
) -> tuple[System, Record, list[dict[str, Any]]]:
    """One seed: its system as it stands at the end, its record, and its evaluation rows."""
    system, spec = build(scenario, seed, run / "state" / str(seed)), scenario.workers
    with ExitStack() as opened:
        with phase(f"starting {spec.learn} workers"):
            workers = opened.enter_context(open_workers(spec, spec.learn, system.settings))
        learned = tune_all(system, workers, ledger)
        if spec.stream != spec.learn:
            opened.close()
            with phase(f"starting {spec.stream} workers"):
                workers = opened.enter_context(open_workers(spec, spec.stream, system.settings))
        learned = first_release(system, learned, workers, ledger)
        played = play_stream(system, workers, ledger)
        record = summary.seed_record(system, learned, played.costs, played.curve, played.forgotten, played.retrain_steps)
        _prove(system, record, workers, ledger)
    return system, record, played.rows


def forget(run: Path, client: str) -> Costs:
    """Carry out a deletion request to a finished run, in every seed; the cost by strategy label, of all seeds.

    Raises:
        InputError: not a finished run, damaged state, or no such client (any more).
    """
    with locked(run):
        return _forget(run, client)


def _forget(run: Path, client: str) -> Costs:
    started = time.perf_counter()
    scenario, told, records = saved.open_run(run)
    systems = [saved.open_system(run, scenario, record) for record in records]
    for system, record in zip(systems, records, strict=True):
        _check_is_there(client, system, record)
    ledger, rows = Ledger(run / "ledger.jsonl"), summary.read_rows(run)
    total = {label: Cost() for label in systems[0].strategies}
    for system, record in zip(systems, records, strict=True):
        with opening.open_workers(scenario.workers, scenario.workers.stream, system.settings) as workers:
            costs = carry_out(system, [Request(client, scenario.stream.days)], workers, ledger)
            new = evaluate(system, [*record["forgotten"], client], workers)
            summary.add_request(record, system, client, costs, new)
            _prove(system, record, workers, ledger)
        rows += new
        summary.write_record(run, record)
        total = {label: total[label].then(cost) for label, cost in costs.items()}
    _finish(run, systems[-1], records, rows, ledger, started, told["seconds"])
    return total


def _check_is_there(client: str, system: System, record: Record) -> None:
    if client in record["forgotten"]:
        raise InputError(f"--client {client}: has been forgotten already")
    if client not in system.joining:
        some = ", ".join(system.joining[:5])
        raise InputError(f"--client {client}: there is no such client; there are {some}, ...")


def _prove(system: System, record: Record, workers: Workers, ledger: Ledger) -> None:
    """The audits that the scenario asks for, into the record and the ledger."""
    if "gap" in system.scenario.audit:
        record["unlearning"] = gap.measure(system, record["forgotten"], workers, ledger)
    if "bitwise" in system.scenario.audit:
        record["rebuilt_digest"] = audited(system, record["state_digest"], workers, ledger)


def _finish(
    run: Path, system: System, records: list[Record], rows: list[Any], ledger: Ledger, started: float, before: float = 0.0
) -> None:
    """Write metrics, the summary and, if asked for, figures and report; ``before``: seconds that the run took until now."""
    summary.write_rows(run, rows)
    seconds = time.perf_counter() - started
    ledger.append("end", wall_seconds=round(seconds, 3))
    write_json(run / "summary.json", summary.summarize(run, system, records, before + seconds, ledger))
    if system.scenario.report.html:
        with phase("drawing the report"):
            write_report(run)
