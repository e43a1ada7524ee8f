"""Taking clients, or some of their examples, out: derive again, check, subtract, erase; rebuild where the check fails.

Under each rule whose sum is kept, the client's task vector is derived again for real and subtracted only if its digest is
the one recorded when the client joined. Otherwise what is kept under that rule is rebuilt from the retained clients, at its
true price, and the ledger says so; likewise where the client cannot be reached and the scenario says not to wait.

Where only some examples leave, the vector of those that stay is derived as well, and takes the old one's place.

A strategy that ``rereads`` needs every retained client's vector again. The simulator takes them from its
cache, but the strategy's price is that of tuning every retained client again, once per release that forgets someone.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from clients.data.source import ShardRef
from clients.errors import WorkError
from clients.exact import digest
from clients.jobs import Job, Reply, tune_job
from clients.work.contributions import SUM, Wanted
from sim.life.asking import run_twice
from sim.life.cost import Cost, of_reply
from sim.life.learning import Costs, learn, learn_beside
from sim.life.ledger import Ledger
from sim.life.system import Rule, System
from sim.workers.workers import Workers, job_bytes, reply_bytes
from strategies.state.kept import left_of

OFFLINE = "it cannot be reached"

Derived = dict[str, tuple[Reply, Cost]]
Keys = Mapping[str, frozenset[str]]
"""By client the keys of examples."""


def forget(
    system: System, rule: Rule, leaving: Sequence[str], offline: Iterable[str], workers: Workers, ledger: Ledger
) -> Costs:
    """Take clients out of what is kept under one rule; what deriving or rebuilding cost the strategies that need it.

    Args:
        leaving: members.
        offline: those of them who cannot be reached, and are not waited for.
    """
    kept = system.kept[rule]
    reached = [client for client in leaving if client not in set(offline)]
    replies, cost = _derive(system, rule, reached, workers) if system.derives(rule) else ({}, Cost())
    bad = _unlike(system, rule, replies) | (
        dict.fromkeys(set(leaving) - set(reached), OFFLINE) if system.derives(rule) else {}
    )
    for client in leaving:
        expected = kept.members[client]["digest"]
        if client in replies and not bad:
            kept.subtract(client, replies[client][0])
        kept.erase(client)
        if rule is not None:
            ledger.append("forget", seed=system.seed, rule=rule, client=client, **_facts(client, expected, replies))
    costs = dict.fromkeys(system.derives(rule), cost)
    return _after(costs, _rebuilt(system, rule, bad, workers, ledger)) if bad else costs


def leave_out(system: System, rule: Rule, examples: Keys, offline: Iterable[str], workers: Workers, ledger: Ledger) -> Costs:
    """Take examples of some members out of what is kept under one rule; the price by strategy label.

    Args:
        examples: those that leave; the system's ``refs`` still name the shards that hold them.
    """
    kept, unreached = system.kept[rule], set(offline)
    point(system, examples, before=True)
    reached = [client for client in examples if client not in unreached]
    old, cost = _derive(system, rule, reached, workers) if system.derives(rule) else ({}, Cost())
    bad = _unlike(system, rule, old) | (dict.fromkeys(examples.keys() & unreached, OFFLINE) if system.derives(rule) else {})
    point(system, examples, before=False)
    costs = {label: cost if label in system.derives(rule) else Cost() for label in system.labels(rule)}
    if rule is None:
        for client in examples:
            kept.reregister(client, system.shard_digest(client))
        return costs
    told = {
        client: _facts(client, kept.members[client]["digest"], old) | {"examples": len(keys)}
        for client, keys in examples.items()
    }
    again = any(map(system.rejoins, system.labels(rule)))
    if not bad and not again:
        costs = _after(costs, _exchange(system, rule, old, told, workers))
    for client, facts in told.items():
        ledger.append("forget", seed=system.seed, rule=rule, client=client, **facts)
    if bad:
        return _after(costs, _rebuilt(system, rule, bad, workers, ledger, changed=examples))
    if again:
        rest = sorted(kept.members.keys() - examples.keys())
        return _after(costs, learn_beside(system, rule, list(examples), rest, workers))
    return costs


def price_of_tuning_again(system: System, label: str) -> Cost:
    """What it costs to tune every current client of a strategy again, all at the same time, each asked alone.

    Steps and seconds are those of when it joined; bytes up are of the arrays wanted and of what is recorded of the client.
    """
    kept = system.kept_of(label)
    wants = kept.wants(system.strategies[label].parts)
    cost = Cost()
    for client, member in sorted(kept.members.items()):
        assert kept.rule is not None
        down = job_bytes(tune_job((client,), kept.rule, wants), {})
        up = np.dtype(np.float32).itemsize * kept.size + len(json.dumps(member | {"seconds": 0.0}))
        steps, seconds = member["steps"], member["seconds"]
        cost = cost.beside(Cost(steps, steps, 1, 0, seconds, down, up, ((seconds,),)))
    return cost


def point(system: System, examples: Keys, before: bool) -> None:
    """Let the clients' names stand for their shards before or after the examples left, and an alias for these examples."""
    for client, keys in examples.items():
        without = system.refs.get(client, ShardRef(client=client)).without
        now = without - keys if before else without | keys
        system.refs[client] = ShardRef(client=client, without=now)
        left = system.refs.get(left_of(client), ShardRef(client=client)).only or frozenset()
        system.refs[left_of(client)] = ShardRef(client=client, only=left | keys)


def _unlike(system: System, rule: Rule, replies: Derived) -> dict[str, str]:
    """Clients whose vector is not, bit for bit, the one that was summed, and why."""
    kept = system.kept[rule]
    return {
        client: reply.error or "derived a different task vector"
        for client, (reply, _) in replies.items()
        if not kept.matches(client, reply)
    }


def _derive(system: System, rule: Rule, clients: Sequence[str], workers: Workers) -> tuple[Derived, Cost]:
    """Task vectors of leaving clients, each with its own cost, and the cost of all: they work at the same time."""
    replies: Derived = {}
    total = Cost()
    jobs = _jobs(system, rule, clients, [SUM])
    for index, reply in run_twice(workers, jobs, {}):
        cost = of_reply(reply, job_bytes(jobs[index], {}), reply_bytes(reply))
        replies[clients[index]] = reply, cost
        total = total.beside(cost)
    return replies, total


def _exchange(system: System, rule: str, old: Derived, told: Mapping[str, dict[str, object]], workers: Workers) -> Costs:
    """Put what clients send of the examples that they still have in the place of what they sent before; its price by label.

    Args:
        told: what the ledger says of each client; the new digest is added to it.

    Raises:
        WorkError: a client cannot, though it is to stay; nothing is exchanged then.
    """
    kept, clients, found = system.kept[rule], list(told), dict[str, Reply]()
    prices = {label: Cost() for label in system.labels(rule)}
    jobs = _jobs(system, rule, clients, kept.wants())
    for index, reply in run_twice(workers, jobs, {}):
        if reply.error:
            raise WorkError(f"tuning {clients[index]} on the examples that it keeps failed: {reply.error}")
        found[clients[index]] = reply
        for label in prices:
            up = reply_bytes(reply, kept.wants(system.strategies[label].parts))
            prices[label] = prices[label].beside(of_reply(reply, job_bytes(jobs[index], {}), up))
    for client, facts in told.items():
        kept.exchange(client, old[client][0] if client in old else None, found[client])
        facts["digest"] = kept.members[client]["digest"]
    return prices


def _jobs(system: System, rule: Rule, clients: Sequence[str], wants: Iterable[Wanted]) -> list[Job]:
    """A tune job for each client, on the shard that its name stands for now."""
    assert rule is not None
    jobs = [tune_job((client,), rule, wants) for client in clients]
    return [
        replace(job, refs={client: system.refs[client]}) if client in system.refs else job
        for job, client in zip(jobs, clients, strict=True)
    ]


def _facts(client: str, expected: str, replies: Derived) -> dict[str, object]:
    """What the ledger says of one client's deletion: by digest if its vector was derived, else only that it was erased."""
    if client not in replies:
        return {"derived": False, "erased": True}
    reply, cost = replies[client]
    found = digest.of_integers(reply.arrays["sum"]) if "sum" in reply.arrays else None
    return {
        "derived": True,
        "expected_digest": expected,
        "derived_digest": found,
        "matched": found == expected,
        "erased": True,
        **cost.as_facts(),
    }


def _rebuilt(
    system: System,
    rule: Rule,
    because: Mapping[str, str],
    workers: Workers,
    ledger: Ledger,
    changed: Collection[str] = (),
) -> Costs:
    """Make what is kept under a rule again from the retained clients only; the price by label.

    Args:
        changed: of these clients, examples have left. A strategy that sums nothing pays for deriving them, and no others.
    """
    members = sorted(system.kept[rule].members)
    system.fresh(rule)
    mine = learn(system, {rule: sorted(changed)}, workers) if changed else {}
    rest = learn(system, {rule: [client for client in members if client not in changed]}, workers)
    prices = {label: mine.get(label, Cost()).beside(rest[label]) for label in system.derives(rule)}
    told = {label: price.as_facts() for label, price in prices.items()}
    ledger.append("rebuild", seed=system.seed, rule=rule, because=dict(sorted(because.items())), strategies=told)
    return mine | prices


def _after(costs: Costs, more: Costs) -> Costs:
    return {label: cost.then(more[label]) if label in more else cost for label, cost in costs.items()}
