"""Carrying out deletion requests: derive again, check, subtract, erase; rebuild where the check fails or the rule says so.

A batch of requests is carried out at a release. Under each rule whose sum is kept, the client's task vector is
derived again for real and subtracted only if its digest is the one recorded when the client joined. Otherwise what is
kept under that rule is rebuilt from the retained clients, at its true price, and the ledger says so.

A strategy that ``rereads`` needs every retained client's vector again. The simulator takes them from its
cache, but the strategy's price is that of tuning every retained client again, once per release that forgets someone.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from clients.exact import digest
from clients.jobs import Reply, tune_job
from clients.work.contributions import SUM
from sim.life.asking import run_twice
from sim.life.cost import Cost, of_reply
from sim.life.learning import Costs, learn, localize, published
from sim.life.ledger import Ledger
from sim.life.system import Rule, System
from sim.stream.requests import Request
from sim.workers.workers import Workers, job_bytes, reply_bytes
from strategies.state.kept import Kept


def carry_out(system: System, requests: Sequence[Request], workers: Workers, ledger: Ledger) -> Costs:
    """Forget the requests' clients, localize again, save, and publish; cost by strategy label."""
    started = time.perf_counter()
    for request in requests:
        ledger.append("request", seed=system.seed, **asdict(request))
    costs = {label: Cost() for label in system.strategies}
    for rule in system.kept:
        leaving = [request.client for request in requests if request.client in system.kept[rule].members]
        for label, cost in _forget(system, rule, leaving, workers, ledger).items():
            costs[label] = costs[label].then(cost)
        for label in system.labels(rule) if leaving else ():
            if system.strategies[label].rereads:
                costs[label] = costs[label].then(price_of_tuning_again(system, label))
    for label, cost in localize(system, workers).items():
        costs[label] = costs[label].then(cost)
    system.save()
    told = published(system, costs)
    day = max(request.day for request in requests)
    ledger.append(
        "release",
        seed=system.seed,
        day=day,
        clients=[request.client for request in requests],
        days_to_forget=[round(day - request.day, 3) for request in requests],
        wall_seconds=round(time.perf_counter() - started, 3),
        strategies=told,
    )
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
        up = np.dtype(np.float32).itemsize * kept.size + len(json.dumps(member))
        cost = cost.beside(Cost(member["steps"], member["steps"], 1, 0, member["seconds"], down, up))
    return cost


def _forget(system: System, rule: Rule, leaving: Sequence[str], workers: Workers, ledger: Ledger) -> Costs:
    """Take the clients out of what is kept under one rule; what deriving or rebuilding cost the strategies that need it."""
    kept = system.kept[rule]
    replies, cost = _derive(system, rule, leaving, workers) if system.derives(rule) else ({}, Cost())
    bad = [client for client, (reply, _) in replies.items() if not kept.matches(client, reply)]
    for client in leaving:
        expected = kept.members[client]["digest"]
        if client in replies and not bad:
            kept.subtract(client, replies[client][0])
        kept.erase(client)
        if rule is not None:
            ledger.append("forget", seed=system.seed, rule=rule, client=client, **_facts(client, expected, replies))
    costs = dict.fromkeys(system.derives(rule), cost)
    if bad:
        rebuilt = _rebuild(system, rule, workers)
        reasons = {client: replies[client][0].error or "derived a different task vector" for client in bad}
        prices = {label: rebuilt[label].as_facts() for label in costs}
        ledger.append("rebuild", seed=system.seed, rule=rule, because=reasons, strategies=prices)
        costs = {label: cost.then(rebuilt[label]) for label in costs}
    return costs


def _derive(
    system: System, rule: Rule, clients: Sequence[str], workers: Workers
) -> tuple[dict[str, tuple[Reply, Cost]], Cost]:
    """Task vectors of leaving clients, each with its own cost, and the cost of all: they work at the same time."""
    assert rule is not None
    jobs = [tune_job((client,), rule, [SUM]) for client in clients]
    replies: dict[str, tuple[Reply, Cost]] = {}
    total = Cost()
    for index, reply in run_twice(workers, jobs, {}):
        cost = of_reply(reply, job_bytes(jobs[index], {}), reply_bytes(reply))
        replies[clients[index]] = reply, cost
        total = total.beside(cost)
    return replies, total


def _facts(client: str, expected: str, replies: dict[str, tuple[Reply, Cost]]) -> dict[str, object]:
    """What the ledger says of one client's deletion: by digest if its vector was derived, else only that it was erased."""
    if client not in replies:
        return {"derived": False, "erased": True}
    reply, cost = replies[client]
    found = digest.of_array(reply.arrays["sum"]) if "sum" in reply.arrays else None
    return {
        "derived": True,
        "expected_digest": expected,
        "derived_digest": found,
        "matched": found == expected,
        "erased": True,
        **cost.as_facts(),
    }


def _rebuild(system: System, rule: Rule, workers: Workers) -> Costs:
    """Make what is kept under a rule again from the retained clients only, and put it in the old one's place."""
    old = system.kept[rule]
    new = Kept(old.folder.with_name(old.folder.name + ".rebuilding"), rule, old.bounds, old.declared, old.seed)
    shutil.rmtree(new.folder, ignore_errors=True)
    system.kept[rule] = new
    costs = learn(system, {rule: sorted(old.members)}, workers)
    new.save()
    shutil.rmtree(old.folder, ignore_errors=True)
    new.folder.rename(old.folder)
    new.folder = old.folder
    return costs
