"""A release: the requests of a batch are carried out, everything is localized again and saved, and the models are published.

Requests are carried out in their order, those of one kind beside each other. A request that cannot be meant (a client who
is unknown, was never there or has been forgotten already; examples that it does not have) is refused with a line in the
ledger, and the others go on. Where a deletion needs a client who cannot be reached, it waits under that rule, or everything
under the rule is rebuilt without the client, as the scenario says. Rules whose parts suffice need nobody.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from sim.life import deletion, record
from sim.life.cost import Cost
from sim.life.deletion import price_of_tuning_again
from sim.life.joining import join
from sim.life.learning import Costs, Listener, localize, published
from sim.life.life import Life
from sim.life.requesting import refusal, whole
from sim.life.system import Rule
from sim.stream.clock import DAY, in_turn, makespan
from sim.stream.requests import FORGET, JOIN, Request, is_offline
from sim.workers.workers import Workers
from strategies.state.kept import left_of

NO_RULE = "nothing"
"""How the ledger calls what is kept for strategies that ask for no vectors."""
CLOCK_DIGITS = 9
"""Of days on the clock: the last one is a tenth of a millisecond."""


@dataclass
class Carried:
    """What a release has done until now: costs by label, rules under which something changed, and who was served when."""

    costs: Costs
    joined: Costs
    changed: set[Rule] = field(default_factory=set)
    done: list[Request] = field(default_factory=list)


def carry_out(life: Life, batch: Sequence[Request], day: float, workers: Workers, evaluated: bool, last: bool) -> None:
    """Carry out requests, and those that wait and can be now; then localize, save and publish, in one commit.

    Args:
        evaluated: whether what is published is to be evaluated.
        last: whether there is no other batch; then that has to wait for those who are waited for.
    """
    started, system = time.perf_counter(), life.system
    carried = Carried({label: Cost() for label in system.strategies}, {label: Cost() for label in system.strategies})
    _carry_out_waiting(life, day, carried, workers)
    for group in _groups(life, batch):
        if group[0].kind == JOIN:
            _join(life, group, carried, workers)
        else:
            _forget(life, group, day, carried, workers)
    for label, strategy in system.strategies.items():
        if strategy.rule in carried.changed and strategy.rereads:
            _add(carried.costs, label, price_of_tuning_again(system, label))
    taken_out = {label: carried.costs[label].then(carried.joined[label]) for label in carried.costs}
    forgets = any(request.kind == FORGET for request in carried.done)
    for label, cost in localize(system, workers).items():
        _add(carried.costs if forgets else carried.joined, label, cost)
    life.fail(system.failures)
    for name in [name for name in system.refs if name not in system.population.examples]:
        del system.refs[name]  # what has left: only those who edit a model asked for it
    system.save()
    together = {label: cost.then(carried.joined[label]) for label, cost in carried.costs.items()}
    times = _times(life, day, taken_out, together)
    _record(life, batch, day, carried, times)
    life.record["owes"] = ["evaluation"] if evaluated and not (last and life.record["waiting"]) else []
    life.tell(
        "release",
        day=day,
        clients=[request.client for request in carried.done],
        days_to_forget=[round(day - request.day, 3) for request in carried.done if request.kind == FORGET],
        times=times,
        wall_seconds=round(time.perf_counter() - started, 3),
        strategies=published(system, together),
    )
    life.released = together
    life.commit()


def _groups(life: Life, batch: Sequence[Request]) -> Iterator[list[Request]]:
    """The requests that can be carried out, those of one kind together that follow each other. Each is looked at when it is
    its turn, after the groups before it were carried out."""
    group: list[Request] = []
    for asked in batch:
        if group and (_kind(asked) != _kind(group[0]) or asked.client in {request.client for request in group}):
            yield group
            group = []
        life.tell("request", client=asked.client, kind=asked.kind, day=asked.day, examples=_count(asked))
        if (reason := refusal(life, asked)) is not None:
            life.tell("refused", client=asked.client, kind=asked.kind, reason=reason)
            life.record["refused"] += 1
            continue
        request = whole(life, asked)
        if group and _kind(request) != _kind(group[0]):
            yield group
            group = []
        group.append(request)
    if group:
        yield group


def _kind(request: Request) -> tuple[str, bool]:
    return request.kind, request.partial


def _count(request: Request) -> int:
    return request.rows or len(request.examples)


# -- forgetting -----------------------------------------------------------------------------------------------------------


def _forget(life: Life, requests: Sequence[Request], day: float, carried: Carried, workers: Workers) -> None:
    """Requests of one kind, under every rule. Whoever has to be waited for is put off under the rules that need it; where it
    asks for some examples only, under all, since its shard is one."""
    system, partial = life.system, requests[0].partial
    members = {rule: [r for r in requests if r.client in kept.members] for rule, kept in system.kept.items()}
    unreached = {rule: _unreached(life, rule, mine, day) for rule, mine in members.items()}
    if system.scenario.stream.offline.policy == "wait":
        if partial:
            unreached = dict.fromkeys(unreached, set().union(*unreached.values()))
        for request in requests:
            rules = [rule for rule in members if request.client in unreached[rule]]
            if rules:
                life.record["waiting"].append({"rules": rules, "request": asdict(request)})
                life.tell("waiting", client=request.client, rules=[rule or NO_RULE for rule in rules])
        members = {rule: [r for r in mine if r.client not in unreached[rule]] for rule, mine in members.items()}
    _carry_out(life, requests, members, unreached, carried, workers)


def _carry_out(
    life: Life,
    requests: Sequence[Request],
    members: Mapping[Rule, Sequence[Request]],
    offline: Mapping[Rule, set[str]],
    carried: Carried,
    workers: Workers,
) -> None:
    """Take requests out under the rules that each is given for."""
    if requests[0].partial:
        now = {r.client: frozenset(r.examples) for r in requests if any(r in mine for mine in members.values())}
        _shrink(life, now)
    for rule, mine in members.items():
        _take_out(life, rule, mine, offline.get(rule, set()), carried, workers)
    waiting = {entry["request"]["client"] for entry in life.record["waiting"]}
    carried.done += [request for request in requests if request.client not in waiting]
    if not requests[0].partial:
        _note_forgotten(life, [request.client for request in requests])


def _take_out(
    life: Life, rule: Rule, requests: Sequence[Request], offline: set[str], carried: Carried, workers: Workers
) -> None:
    if not requests:
        return
    system, clients = life.system, [request.client for request in requests]
    if requests[0].partial:
        keys = {request.client: frozenset(request.examples) for request in requests}
        costs = deletion.leave_out(system, rule, keys, offline, workers, life.ledger)
        costs = {label: cost for label, cost in costs.items() if not system.strategies[label].rereads}
        for client in clients:
            system.kept[rule].changed[client] = left_of(client)
    else:
        costs = deletion.forget(system, rule, clients, offline, workers, life.ledger)
    carried.changed.add(rule)
    for label, cost in costs.items():
        _add(carried.costs, label, cost)


def _shrink(life: Life, keys: deletion.Keys) -> None:
    """Write down which examples are left; the workers learn it from references."""
    system, population = life.system, life.system.population
    for client, gone in keys.items():
        deletion.point(system, {client: gone}, before=False)
        population = population.holding(system.data().shard(system.refs[client]))
    system.population = population


def _unreached(life: Life, rule: Rule, requests: Iterable[Request], day: float) -> set[str]:
    """Clients who are needed under a rule and cannot be reached."""
    if not life.system.derives(rule):
        return set()
    spec = life.system.scenario.stream.offline
    return {request.client for request in requests if is_offline(spec, request.client, day, life.system.seed)}


def _carry_out_waiting(life: Life, day: float, carried: Carried, workers: Workers) -> None:
    """Requests that wait and whose clients can be reached now."""
    spec, waiting = life.system.scenario.stream.offline, life.record["waiting"]
    now = [w for w in waiting if not is_offline(spec, w["request"]["client"], day, life.system.seed)]
    life.record["waiting"] = [each for each in waiting if each not in now]
    for each in now:
        request = Request(**(each["request"] | {"examples": tuple(each["request"]["examples"])}))
        _carry_out(life, [request], {rule: [request] for rule in each["rules"]}, {}, carried, workers)


def _note_forgotten(life: Life, clients: Iterable[str]) -> None:
    """Who is a member nowhere any more is forgotten: which examples were its is written down no longer."""
    gone = [client for client in clients if client not in life.present]
    life.record["forgotten"] += [client for client in gone if client not in life.record["forgotten"]]
    life.system.population = life.system.population.without(gone)


# -- joining --------------------------------------------------------------------------------------------------------------


def _join(life: Life, requests: Sequence[Request], carried: Carried, workers: Workers) -> None:
    """Newcomers, and those who come back, under every rule. Who cannot be tuned is missing."""
    clients = [request.client for request in requests]
    record, system = life.record, life.system
    for client in clients:
        record["missing"].pop(client, None)
        record["forgotten"] = [other for other in record["forgotten"] if other != client]
        if client not in record["joined"]:
            record["joined"].append(client)
    for rule in sorted(system.kept, key=lambda rule: rule is None):
        there = [client for client in clients if client not in record["missing"]] if rule is None else clients
        for label, cost in join(system, rule, there, workers, listener(life)).items() if there else ():
            if not system.strategies[label].rereads:
                _add(carried.joined, label, cost)
        carried.changed.add(rule)
    carried.done += requests


def listener(life: Life) -> Listener:
    """Who writes down who joined and who could not."""

    def joined(rule: str, client: str, facts: dict[str, Any]) -> None:
        life.tell("join", rule=rule, client=client, **facts)

    def failed(rule: str, clients: Sequence[str], error: str) -> None:
        life.tell("failed", rule=rule, clients=list(clients), error=error)
        for client in clients:
            life.record["missing"].setdefault(client, {})[rule] = error

    return Listener(joined, failed)


# -- the record -----------------------------------------------------------------------------------------------------------


def _times(life: Life, day: float, taken_out: Costs, together: Costs) -> dict[str, dict[str, float]]:
    """By label the days on which work on a release starts, everybody is taken out or in, and the models are published.

    Service is the measured seconds of its jobs on ``workers.count`` workers; a release waits for the one before.
    """
    workers, found = life.system.scenario.workers.count, {}
    for label, cost in together.items():
        lengths = [makespan(each.stages, workers) / DAY for each in (taken_out[label], cost)]
        (start,), (published,) = in_turn(np.array([day]), np.array(lengths[1:]), life.record["clock"].get(label, 0.0))
        found[label] = {
            "start": round(float(start), CLOCK_DIGITS),
            "done": round(float(start) + lengths[0], CLOCK_DIGITS),
            "published": round(float(published), CLOCK_DIGITS),
        }
    return found


def _record(
    life: Life, batch: Sequence[Request], day: float, carried: Carried, times: Mapping[str, Mapping[str, float]]
) -> None:
    mine, system = life.record, life.system
    arrivals = [request.day for request in carried.done if request.kind == FORGET]
    told = {label: [each[key] for key in ("start", "done", "published")] for label, each in times.items()}
    mine["released"].append({"day": day, "arrivals": arrivals, "times": told})
    mine["clock"] = {label: each["published"] for label, each in times.items()}
    life.cost("forget", carried.costs)
    life.cost("join", carried.joined)
    mine["events"] += len(batch)
    mine["deleted"] += sum(request.kind == FORGET for request in carried.done)
    mine["retrain_steps"] += system.scenario.tuning.steps * len(life.present)
    mine["day"] = day
    mine["joins"] += sum(request.kind == JOIN and request.client not in mine["missing"] for request in carried.done)
    mine["proved"] = []
    mine |= record.state(system) | {"rebuilt_digest": dict.fromkeys(system.strategies)}


def _add(costs: Costs, label: str, cost: Cost) -> None:
    costs[label] = costs[label].then(cost)
