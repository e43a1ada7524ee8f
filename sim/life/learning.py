"""Learning: every client is tuned once per rule, and folded into what the server keeps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clients.errors import InputError, WorkError
from clients.jobs import Reply, tune_job
from sim.life.asking import Asker, Trainings
from sim.life.cost import Cost, of_reply
from sim.life.ledger import Ledger
from sim.life.system import Rule, System
from sim.workers.workers import Workers, cohorts, job_bytes, reply_bytes
from strategies.state.kept import IDENTITY

Costs = dict[str, Cost]
TOLD = (*IDENTITY, "seconds")
"""What the ledger says of a member."""
Asked = list[tuple[str, tuple[str, ...]]]


def learn(
    system: System,
    clients: Mapping[Rule, Sequence[str]],
    workers: Workers,
    ledger: Ledger | None = None,
    done: Callable[[], None] = lambda: None,
) -> Costs:
    """Tune clients and absorb them, in whatever order they come; each strategy's full price, by label.

    A price does not know of the other strategies that share the tuning: bytes are of what the strategy itself wants.
    A cohort that fails is asked again client by client; who fails again is left out, and the ledger says so.

    Args:
        clients: whom to tune, for each rule that is to learn.

    Raises:
        WorkError: a client failed twice and there is no ledger to say so, or nobody is left.
    """
    if None in clients:
        system.kept[None].register(clients[None])
    cost = {label: Cost() for rule in clients for label in system.labels(rule)}
    size = system.scenario.workers.cohort
    asked: Asked = [(rule, cohort) for rule, mine in clients.items() if rule is not None for cohort in cohorts(mine, size)]
    failed = _fold(system, asked, workers, ledger, cost, done)
    alone: Asked = [(rule, (client,)) for rule, cohort, _ in failed for client in cohort]
    for failing, cohort, error in _fold(system, alone, workers, ledger, cost, done) if alone else []:
        if ledger is None:
            raise WorkError(f"tuning {', '.join(cohort)} failed: {error}")
        ledger.append("failed", seed=system.seed, rule=failing, clients=list(cohort), error=error)
    for rule, mine in clients.items():
        if mine and not system.kept[rule].members:
            raise WorkError(f"no client could be tuned under the rule {rule}; the ledger holds their errors")
        system.kept[rule].seal()
    return cost


def _fold(
    system: System,
    asked: Asked,
    workers: Workers,
    ledger: Ledger | None,
    cost: Costs,
    done: Callable[[], None],
) -> list[tuple[str, tuple[str, ...], str]]:
    """Carry out tune jobs and absorb their replies as they arrive; returns what failed and why."""
    jobs = [tune_job(cohort, rule, system.kept[rule].wants()) for rule, cohort in asked]
    failed: list[tuple[str, tuple[str, ...], str]] = []
    for index, reply in workers.run(jobs, {}):
        rule, cohort = asked[index]
        error = reply.error or _refusal(system, rule, reply)
        if error:
            failed.append((rule, cohort, error))
            continue
        for label in system.labels(rule):
            up = reply_bytes(reply, system.kept[rule].wants(system.strategies[label].parts))
            cost[label] = cost[label].beside(of_reply(reply, job_bytes(jobs[index], {}), up))
        for client in cohort:
            if ledger is not None:  # where a client's data lie is forgotten with it, so it stays out of the ledger
                told = {key: value for key, value in system.kept[rule].members[client].items() if key in TOLD}
                ledger.append("join", seed=system.seed, rule=rule, client=client, **told)
            done()
    return failed


def _refusal(system: System, rule: Rule, reply: Reply) -> str | None:
    """Absorb a reply; the reason if it was refused."""
    try:
        system.kept[rule].absorb(reply)
    except InputError as error:
        return str(error)
    return None


def published(system: System, costs: Costs) -> dict[str, dict[str, Any]]:
    """What the ledger says of each strategy at a release: its price, the bytes kept for it and its state digest."""
    storage, digests = system.storage(), system.digests()
    return {
        label: {**cost.as_facts(), "bytes_kept": storage[label], "state_digest": digests[label]}
        for label, cost in costs.items()
    }


def localize(system: System, workers: Workers, done: Callable[[], None] = lambda: None) -> Costs:
    """Let every strategy choose and learn what depends on all current members; cost by label."""
    costs = {}
    trainings: Trainings = {}
    for label, strategy in system.strategies.items():
        ask = Asker(workers, strategy, done, trainings)
        strategy.localize(system.kept_of(label), ask)
        costs[label] = ask.cost
    return costs
