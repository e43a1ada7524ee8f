"""Playing a scenario: learn, merge, localize, serve, forget, verify, report."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import yaml

from clients.data import loaders as data
from clients.errors import InputError
from clients.exact import determinism
from clients.exact.files import write_whole
from clients.jobs import open_site
from clients.settings import Settings
from clients.work.pooled import try_linear
from sim.attacks import gap as unlearning
from sim.life import summary
from sim.life.cost import Cost
from sim.life.deletion import carry_out
from sim.life.evaluation import evaluate
from sim.life.learning import Costs, learn, localize, published
from sim.life.ledger import Ledger
from sim.life.system import System, build, check_data, strategies_of, write_json
from sim.proof import audit
from sim.report.report import write_report
from sim.scenario.model import Scenario
from sim.scenario.workers import Kind, WorkersSpec
from sim.stream import requests as stream
from sim.terminal import phase, say
from sim.workers import opening as transports
from sim.workers.opening import one_ray, open_workers
from sim.workers.workers import Workers

Open = Callable[[WorkersSpec, Kind, Settings], AbstractContextManager[Workers]]


def new_folder(scenario: Scenario, out: Path | None) -> Path:
    """The run folder to write to: ``out``, or the first free of ``runs/NAME``, ``runs/NAME-2``, ...

    Raises:
        InputError: ``out`` exists already, or is no place to write to.
    """
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"--out {out}: exists already; nothing there was touched. Choose another folder")
        return out
    number = 1
    while (folder := Path("runs") / (scenario.name + (f"-{number}" if number > 1 else ""))).exists():
        number += 1
    return folder


def run_scenario(scenario: Scenario, out: Path | None = None, open_workers: Open = open_workers) -> Path:
    """Play every seed of a scenario and write a run folder.

    Args:
        out: the run folder; default under ``runs/``.
        open_workers: who carries out client work; under ``flwr run``, the nodes of its Grid.

    Returns:
        The run folder.

    Raises:
        InputError: before any long work, if data, model or folder do not fit.
    """
    run, started = new_folder(scenario, out), time.perf_counter()
    for seed in scenario.seeds:  # all bad input shows here, before anything is written or tuned
        prepare(scenario, seed)
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {run}: cannot be made ({error.strerror}); choose another folder") from error
    write_whole(run / "scenario.yaml", resolved(scenario).encode())
    ledger = Ledger(run / "ledger.jsonl")
    environment = determinism.environment("cuda" if scenario.workers.gpus else "cpu")
    ledger.append("start", scenario_digest=scenario.digest(), environment=environment)
    records, rows = [], []
    with one_ray(scenario.workers) if open_workers is transports.open_workers else nullcontext():
        for seed in scenario.seeds:
            system, record, measured = _play(scenario, seed, run, ledger, open_workers)
            records.append(record)
            rows += measured
            summary.write_record(run, record)
    summary.write_rows(run, rows)
    ledger.append("end", wall_seconds=round(time.perf_counter() - started, 3))
    finish(run, system, records, time.perf_counter() - started, ledger)
    return run


def finish(run: Path, system: System, records: list[dict[str, Any]], seconds: float, ledger: Ledger) -> None:
    """Write the summary and, if asked for, figures and report."""
    write_json(run / "summary.json", summary.summarize(run, system, records, seconds, ledger))
    if system.scenario.report.html:
        with phase("drawing the report"):
            write_report(run)


def prepare(scenario: Scenario, seed: int) -> None:
    """Load data and base model, which is pretrained now if the cache does not hold it.

    Raises:
        InputError: one of them does not fit, or the data lack what a strategy needs.
    """
    dataset = data.load(scenario.data, seed)
    check_data(scenario, seed)
    for note in dataset.notes:
        say(note)
    unlearning.check(dataset, scenario)
    with phase("opening the base model (pretrained at first use)"):
        model = open_site(scenario.settings(seed)).model
    for label, strategy in strategies_of(scenario, seed).items():
        if strategy.linear:
            try:
                try_linear(model, dataset.shards[0])
            except InputError as error:
                raise InputError(f"strategies: {label} does not go with the model; {error}") from error


def resolved(scenario: Scenario) -> str:
    """The scenario as YAML with every default filled in."""
    return yaml.safe_dump(scenario.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _play(
    scenario: Scenario, seed: int, run: Path, ledger: Ledger, open_workers: Open
) -> tuple[System, dict[str, Any], list[dict[str, Any]]]:
    """One seed: its system as it stands at the end, its record, and its evaluation rows."""
    system, spec = build(scenario, seed, run / "state" / str(seed)), scenario.workers
    with ExitStack() as opened:
        with phase(f"starting {spec.learn} workers"):
            workers = opened.enter_context(open_workers(spec, spec.learn, system.settings))
        learned = _tune_all(system, workers, ledger)
        if spec.stream != spec.learn:
            opened.close()
            with phase(f"starting {spec.stream} workers"):
                workers = opened.enter_context(open_workers(spec, spec.stream, system.settings))
        _localize_all(system, learned, workers, ledger)
        forgot, curve, rows, forgotten = _forget_stream(system, workers, ledger)
        model = open_site(system.settings).model
        record = summary.seed_record(system, learned, forgot, curve, forgotten, model.parameters)
        if "gap" in scenario.audit:
            record["unlearning"] = unlearning.measure(system, forgotten, workers, ledger)
        if "bitwise" in scenario.audit:
            record["rebuilt_digest"] = audited(system, record["state_digest"], workers, ledger)
    return system, record, rows


def _tune_all(system: System, workers: Workers, ledger: Ledger) -> Costs:
    """Every client joins under every tuning rule; the price by strategy."""
    clients = system.joining
    tuned = [rule for rule in system.kept if rule is not None]
    with phase("clients tune the base model", len(clients) * len(tuned)) as done:
        return learn(system, dict.fromkeys(system.kept, clients), workers, ledger, done)


def _localize_all(system: System, learned: Costs, workers: Workers, ledger: Ledger) -> None:
    """The first release: scales and masks are chosen, the state is saved, and the price is added to ``learned``."""
    with phase("strategies choose scales and learn masks") as done:
        for label, extra in localize(system, workers, done).items():
            learned[label] = learned[label].then(extra)
    system.save()
    ledger.append("learned", seed=system.seed, strategies=published(system, learned))


def _forget_stream(
    system: System, workers: Workers, ledger: Ledger
) -> tuple[dict[str, Cost], list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Play the stream: costs by strategy, points of the curves, evaluation rows, and who was forgotten."""
    spec = system.scenario.stream
    requests = stream.draw(spec, system.joining, system.seed)
    forgot = {label: Cost() for label in system.strategies}
    forgotten: list[str] = []
    retrain, steps = 0, system.scenario.tuning.steps
    rows = _evaluated(system, forgotten, workers)
    curve = [summary.point(rows, forgot, system.storage(), retrain)]
    with phase("deletion requests", len(requests)) as done:
        for batch in stream.releases(requests, spec.release.every):
            for label, cost in carry_out(system, batch, workers, ledger).items():
                forgot[label] = forgot[label].then(cost)
            forgotten += [request.client for request in batch]
            retrain += steps * (len(system.joining) - len(forgotten))
            for _ in batch:
                done()
            if len(forgotten) in (spec.evaluate_after or ()):
                new = evaluate(system, forgotten, workers)
                rows += new
                curve.append(summary.point(new, forgot, system.storage(), retrain))
    return forgot, curve, rows, forgotten


def _evaluated(system: System, forgotten: list[str], workers: Workers) -> list[dict[str, Any]]:
    with phase("evaluating what is served") as done:
        return evaluate(system, forgotten, workers, done)


def audited(system: System, state: dict[str, str], workers: Workers, ledger: Ledger) -> dict[str, str]:
    """Digests of the state rebuilt from the retained clients only, recorded in the ledger beside those of the state."""
    rebuilt = audit.rebuild(system, workers)
    equal = {label: state[label] == rebuilt[label] for label in state}
    ledger.append("audit", seed=system.seed, rebuilt_digest=rebuilt, bitwise_equal=equal)
    return rebuilt
