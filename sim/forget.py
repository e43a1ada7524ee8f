"""A deletion request to a finished run: the same checks, the same audit, and every file of the run brought up to date."""

import time
from pathlib import Path

from clients.errors import InputError
from sim.attacks import gap as unlearning
from sim.life import summary
from sim.life.cost import Cost
from sim.life.deletion import carry_out
from sim.life.evaluation import evaluate
from sim.life.ledger import Ledger
from sim.life.saved import open_run, open_system
from sim.run import audited, finish
from sim.stream.requests import Request
from sim.workers.opening import open_workers


def forget(run: Path, client: str) -> dict[str, Cost]:
    """Forget a client in every seed of a run; the cost by strategy label, of all seeds.

    Raises:
        InputError: not a finished run, damaged state, or no such client (any more).
    """
    started = time.perf_counter()
    scenario, told, records = open_run(run)
    systems = [open_system(run, scenario, record) for record in records]
    for system, record in zip(systems, records, strict=True):
        if client in record["forgotten"]:
            raise InputError(f"--client {client}: has been forgotten already")
        if client not in system.joining:
            some = ", ".join(system.joining[:5])
            raise InputError(f"--client {client}: there is no such client; there are {some}, ...")
    ledger, rows = Ledger(run / "ledger.jsonl"), summary.read_rows(run)
    total = {label: Cost() for label in systems[0].strategies}
    for system, record in zip(systems, records, strict=True):
        with open_workers(scenario.workers, scenario.workers.stream, system.settings) as workers:
            costs = carry_out(system, [Request(client, scenario.stream.days)], workers, ledger)
            record["forgotten"] = [*record["forgotten"], client]
            new = evaluate(system, record["forgotten"], workers)
            forgot = {label: Cost(**record["forget"][label]).then(cost) for label, cost in costs.items()}
            steps = scenario.tuning.steps * (record["clients"] - len(record["forgotten"]))
            retrain = record["curve"][-1]["retrain_steps"] + steps
            record["curve"].append(summary.point(new, forgot, system.storage(), retrain))
            record["forget"] = {label: cost.as_facts() for label, cost in forgot.items()}
            record |= summary.state(system)
            record["rebuilt_digest"] = dict.fromkeys(system.strategies)
            if "gap" in scenario.audit:
                record["unlearning"] = unlearning.measure(system, record["forgotten"], workers, ledger)
            if "bitwise" in scenario.audit:
                record["rebuilt_digest"] = audited(system, record["state_digest"], workers, ledger)
        rows += new
        summary.write_record(run, record)
        total = {label: total[label].then(cost) for label, cost in costs.items()}
    summary.write_rows(run, rows)
    ledger.append("end", wall_seconds=round(time.perf_counter() - started, 3))
    finish(run, systems[-1], records, told["seconds"] + time.perf_counter() - started, ledger)
    return total
