"""Clients who cannot be reached: their deletions are put off, or all under the rule is rebuilt, as ``stream.offline`` says.

The days are those of played runs. Strategies that need nobody do not wait, but for requests for some examples: a client's
shard is one, so these wait under all strategies if any needs the client.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sim.plan.rehearsal import Rehearsal
from sim.scenario.model import Scenario
from sim.service.service import Service, askers, counted
from sim.stream.requests import is_offline, next_day


def by_label(scenario: Scenario, service: Service, rehearsal: Rehearsal) -> Mapping[str, Service]:
    """The service of each strategy."""
    spec, strategies = scenario.stream.offline, rehearsal.strategies
    derives = {label: bool(strategy.rule) and strategy.derives for label, strategy in strategies.items()}
    if not (spec.probability or spec.calendar) or not any(derives.values()):
        return dict.fromkeys(strategies, service)
    if spec.policy == "rebuild":
        away = _away(scenario, service, rehearsal.seed)
        many = np.bincount(service.release[away], minlength=len(service.due)).astype(np.int64)
        others = replace(service, counts=replace(service.counts, away=many))
        return {label: others if derives[label] else service for label in strategies}
    some = postponed(scenario, service, service.asked & (service.stream.rows > 0), rehearsal.seed)
    every = postponed(scenario, service, service.asked, rehearsal.seed)
    return {label: every if derives[label] else some for label in strategies}


def postponed(scenario: Scenario, service: Service, which: np.ndarray, seed: int) -> Service:
    """The service in which these requests are carried out at the first release at which their client is there; after the
    last one, on the first day in whole steps."""
    spec, who = scenario.stream.offline, askers(scenario, seed)
    release, due = service.release.copy(), service.due.tolist()
    late = dict[float, list[int]]()
    for index in np.flatnonzero(which & _away(scenario, service, seed)).tolist():
        name, number = who.named(int(service.stream.client[index])), int(release[index])
        while number < len(due) and is_offline(spec, name, due[number], seed):
            number += 1
        release[index] = number
        if number == len(due):
            late.setdefault(next_day(spec, [name], due[-1], seed), []).append(index)
    for place, day in enumerate(sorted(late)):
        release[late[day]] = len(due) + place
    days = np.array([*due, *sorted(late)])
    assert scenario.stream.join is not None
    counts = counted(service.stream, service.meant, release, len(days), scenario.stream.join)
    return replace(service, release=release, due=days, counts=counts)


def _away(scenario: Scenario, service: Service, seed: int) -> np.ndarray:
    """Which deletions are of clients who cannot be reached on the day of their release, bool [n]."""
    spec, who = scenario.stream.offline, askers(scenario, seed)
    found = np.zeros(len(service.stream), dtype=bool)
    for index in np.flatnonzero(service.asked).tolist():
        name, day = who.named(int(service.stream.client[index])), float(service.due[service.release[index]])
        found[index] = is_offline(spec, name, day, seed)
    return found
