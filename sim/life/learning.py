"""Learning: clients are tuned once per rule, and folded into what the server keeps."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clients.errors import InputError, NotFiniteError, WorkError
from clients.jobs import Reply, tune_job
from sim.life.asking import Asker, Trainings
from sim.life.cost import Cost, of_reply
from sim.life.system import Rule, System
from sim.workers.workers import Workers, cohorts, job_bytes, reply_bytes
from strategies.state.kept import IDENTITY
from strategies.strategy import FAILED

Costs = dict[str, Cost]
TOLD = (*IDENTITY, "seconds")
"""What the ledger says of a member."""
Cohorts = list[tuple[str, tuple[str, ...]]]


def _nothing(*_: Any) -> None:
    pass


def _refuse(rule: str, clients: Sequence[str], error: str) -> None:
    raise WorkError(f"tuning {', '.join(clients)} failed: {error}")


@dataclass
class Listener:
    """Who hears of learning as it goes on.

    Attributes:
        joined: is told rule, client and what the ledger says of it.
        failed: is told rule, clients and why, when clients could not be tuned, twice; by default an error ends everything.
        pause: is called where the state is whole, after each cohort.
    """

    joined: Callable[[str, str, dict[str, Any]], None] = _nothing
    failed: Callable[[str, Sequence[str], str], None] = _refuse
    pause: Callable[[], None] = _nothing


def learn(
    system: System,
    clients: Mapping[Rule, Sequence[str]],
    workers: Workers,
    cost: Costs | None = None,
    listener: Listener | None = None,
    missing: Mapping[str, Mapping[str, str]] = {},
) -> Costs:
    """Tune clients and absorb them, in whatever order they come; each strategy's full price, by label.

    A price does not know of the other strategies that share the tuning: bytes are of what the strategy itself wants.
    A cohort that fails is asked again client by client; who fails again is left out. Clients who are members or missing
    already are passed over, so that learning goes on where it stood.

    Args:
        clients: whom to tune, for each rule that is to learn.
        cost: what they have cost until now; it is brought up to date as replies come.
        missing: by client and rule who could not be tuned; ``listener.failed`` may add to it.

    Raises:
        WorkError: a client failed twice and nobody listens, or nobody is left.
    """
    cost = {} if cost is None else cost
    for label in (label for rule in clients for label in system.labels(rule)):
        cost.setdefault(label, Cost())
    told = listener or Listener()
    asked = [
        (rule, part)
        for rule, mine in clients.items()
        if rule is not None
        for part in _left(mine, system.scenario.workers.cohort, {*system.kept[rule].members, *_missing(missing, rule)})
    ]
    failed = _fold(system, asked, workers, cost, told)
    alone: Cohorts = [(rule, (client,)) for rule, cohort, _ in failed for client in cohort]
    for failing, cohort, error in _fold(system, alone, workers, cost, told) if alone else []:
        told.failed(failing, cohort, error)
    for rule, mine in clients.items():
        if rule is None:
            there = [client for client in mine if client not in missing]
            system.kept[None].register({client: system.shard_digest(client) for client in there})
        if mine and not system.kept[rule].members:
            raise WorkError(f"no client could be tuned under the rule {rule}; {_first(missing)}")
        system.kept[rule].seal()
    return cost


def learn_beside(
    system: System,
    rule: str | None,
    clients: Sequence[str],
    others: Sequence[str],
    workers: Workers,
    listener: Listener | None = None,
) -> Costs:
    """Tune clients into a new state with everybody else, where some strategy keeps something of all pairs (``rejoins``).

    That strategy pays for all; the price of the others is that of these clients alone.
    """
    system.fresh(rule)
    costs = learn(system, {rule: clients}, workers, listener=listener)
    rest = learn(system, {rule: others}, workers)
    return {label: cost.then(rest[label]) if system.rejoins(label) else cost for label, cost in costs.items()}


def _left(clients: Sequence[str], size: int, done: set[str]) -> list[tuple[str, ...]]:
    """Cohorts that have not been tuned. Of a cohort that was tuned in part the others are asked alone, as they were before:
    so bytes are those of a run that was never interrupted."""
    found: list[tuple[str, ...]] = []
    for cohort in cohorts(clients, size):
        left = tuple(client for client in cohort if client not in done)
        found += [cohort] if left == cohort else [(client,) for client in left]
    return found


def _missing(missing: Mapping[str, Mapping[str, str]], rule: str) -> set[str]:
    return {client for client, errors in missing.items() if rule in errors}


def _first(missing: Mapping[str, Mapping[str, str]]) -> str:
    """The first error of those who are missing, in words."""
    errors = [f"{client}: {next(iter(errors.values()))}" for client, errors in missing.items()]
    return f"the first error is that of {errors[0]}" if errors else "nobody asked to join"


def _fold(
    system: System, asked: Cohorts, workers: Workers, cost: Costs, listener: Listener
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
        for client in cohort:  # where a client's data lie is forgotten with it, so it stays out of the ledger
            facts = {key: value for key, value in system.kept[rule].members[client].items() if key in TOLD}
            listener.joined(rule, client, facts)
        listener.pause()
    return failed


def _refusal(system: System, rule: Rule, reply: Reply) -> str | None:
    """Absorb a reply; the reason if it was refused."""
    try:
        system.kept[rule].absorb(reply)
    except InputError as error:
        return str(error)
    return None


def every(seconds: float, act: Callable[[], None]) -> Callable[[], None]:
    """``act``, but only where that much time has passed since it was done last."""
    last = time.monotonic()

    def pause() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            act()
            last = time.monotonic()

    return pause


def published(system: System, costs: Costs) -> dict[str, dict[str, Any]]:
    """What the ledger says of each strategy at a release: its price, the bytes kept for it and its state digest."""
    storage, digests = system.storage(), system.digests()
    told = {label: {"told": strategy.told} if strategy.told else {} for label, strategy in system.strategies.items()}
    return {
        label: {**cost.as_facts(), "bytes_kept": storage[label], "state_digest": digests[label], **told[label]}
        for label, cost in costs.items()
    }


def localize(system: System, workers: Workers, done: Callable[[], None] = lambda: None) -> Costs:
    """Let every strategy choose and learn what depends on all current members; cost by label.

    One whose numbers are not finite fails alone: ``system.failures`` says why.
    """
    costs = {}
    system.failures.clear()
    trainings: Trainings = {}
    for label, strategy in system.strategies.items():
        ask = Asker(workers, strategy, done, trainings)
        strategy.chosen.pop(FAILED, None)
        try:
            strategy.localize(system.kept_of(label), ask)
        except NotFiniteError as error:
            strategy.fail()
            system.failures[label] = str(error)
        costs[label] = ask.cost
    for kept in system.kept.values():
        kept.changed.clear()
    return costs
