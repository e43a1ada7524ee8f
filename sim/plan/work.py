"""The work that a scenario asks of its clients, before anything is done.

What joining and leaving take follows from what a strategy keeps: everybody's vector when it joins; the leaver's, where
something is summed; everybody's, where all are merged again. The rest is what localizing asks (``rehearsal``).
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from clients.data.population import Population
from clients.settings import TuningSpec
from clients.work.rules import rule_of
from clients.work.site import HERE
from sim.life.asking import MOST_TRAININGS
from sim.life.system import Rule
from sim.plan.rehearsal import Rehearsal
from sim.plan.sizes import Members
from sim.scenario.model import Scenario
from sim.stream import requests as stream
from strategies.work import Work

REHEARSED = 20_000
"""Members in all dry runs of a stream: of a longer one some releases are rehearsed, the others interpolated."""


@dataclass(frozen=True)
class Release:
    """Who leaves at it, and who stays."""

    leaving: Members
    staying: Members

    @property
    def before(self) -> Members:
        return (*self.leaving, *self.staying)


def releases_of(scenario: Scenario, clients: Members, seed: int) -> list[Release]:
    """The releases of a stream, in order."""
    found, staying = [], clients
    everybody = HERE.dataset(scenario.data, seed).manifest.clients
    joining, unseen = stream.population(scenario.stream, everybody, seed)
    who = Population(clients=everybody, joining=joining, unseen=unseen)
    for batch in stream.releases(stream.draw(scenario.stream, who, seed), scenario.stream.release.every):
        leaving = tuple(request.client for request in batch)
        staying = tuple(client for client in staying if client not in leaving)
        found.append(Release(leaving, staying))
    return found


def remaining(releases: Sequence[Release], clients: Members) -> Members:
    """Who is there after the stream."""
    return releases[-1].staying if releases else clients


def steps_of(rule: Rule, spec: TuningSpec) -> int:
    """Gradient steps of deriving one vector under a rule."""
    return rule_of(rule).steps(spec) if rule else 0


def sampled(releases: Sequence[Release]) -> list[int]:
    """The releases that are rehearsed: all, or some that are evenly spaced, the first and the two last among them, as fewer
    may leave at the last than at the others."""
    each = max((len(release.before) for release in releases), default=1)
    most = max(3, REHEARSED // max(each, 1))
    if len(releases) <= most:
        return list(range(len(releases)))
    return [*sorted({round(place) for place in np.linspace(0, len(releases) - 2, most - 1)}), len(releases) - 1]


def over(releases: Sequence[Release], priced: Callable[[Release], Work], formula: bool) -> Work:
    """The work of all releases; without a formula of those that are sampled, and between two of them as on a line."""
    chosen = list(range(len(releases))) if formula else sampled(releases)
    works = [priced(releases[index]) for index in chosen]
    if len(works) == len(releases):
        return sum(works, Work())
    every = np.arange(len(releases))
    totals = {f.name: np.interp(every, chosen, [getattr(w, f.name) for w in works]).sum() for f in fields(Work)}
    return Work(**{name: round(float(total)) for name, total in totals.items()})


def learning(rehearsal: Rehearsal, label: str, members: Members) -> Work:
    """All members join, and the strategy localizes."""
    tuned = len(members) if rehearsal.strategies[label].rule else 0
    return Work(tunings=tuned) + rehearsal.localizing(label, (), members)


def forgetting(rehearsal: Rehearsal, label: str, releases: Sequence[Release]) -> Work:
    """A whole stream of releases, the same way."""
    strategy = rehearsal.strategies[label]
    again = sum(len(release.leaving) * strategy.derives + len(release.staying) * strategy.rereads for release in releases)
    localized = over(releases, lambda r: rehearsal.localizing(label, r.before, r.staying), has_formula(rehearsal, label))
    return Work(tunings=again) + localized


def from_scratch(rehearsal: Rehearsal, label: str, releases: Sequence[Release]) -> Work:
    """What forgetting would cost by learning again from those who stay at each release: tuning all, or what it does."""
    if rehearsal.strategies[label].rule:
        return Work(tunings=sum(len(release.staying) for release in releases))
    return over(releases, lambda r: learning(rehearsal, label, r.staying), has_formula(rehearsal, label))


def has_formula(rehearsal: Rehearsal, label: str) -> bool:
    """Whether a strategy prices its localizing itself."""
    return rehearsal.strategies[label].work((), ()) is not None


def of_run(rehearsal: Rehearsal, everybody: Members) -> tuple[Work, dict[Rule, int]]:
    """What is really done for one seed, and its tunings by rule: each client tuned once per rule, vectors derived once per
    rule, every distinct central training once per release, every strategy's own other work, evaluation and audit."""
    scenario, strategies = rehearsal.scenario, rehearsal.strategies
    releases = releases_of(scenario, everybody, rehearsal.seed)
    stayed = remaining(releases, everybody)
    audits = [Release((), stayed)] * ("bitwise" in scenario.audit)
    tuned = len(everybody) + sum(len(audit.staying) for audit in audits)
    rules: dict[Rule, int] = {strategy.rule: tuned for strategy in strategies.values() if strategy.rule}
    for rule in {strategy.rule for strategy in strategies.values() if strategy.derives}:
        rules[rule] += len(everybody) - len(stayed)
    done = Work(tunings=sum(rules.values()))
    done += together(rehearsal, (), everybody)
    done += over(releases, lambda release: together(rehearsal, release.before, release.staying), formula=False)
    done += sum((together(rehearsal, (), audit.staying) for audit in audits), Work())
    gone = list(itertools.accumulate(len(release.leaving) for release in releases))
    told = scenario.stream.evaluate_after or ()
    published = [r.staying for r, count in zip(releases, gone, strict=True) if count in told]
    scored = len(everybody) + scenario.stream.unseen
    for label in strategies:
        models = [_models(rehearsal, label, everybody, members) for members in (everybody, *published)]
        done += Work(evaluations=scored * sum(models))
        if "gap" in scenario.audit:
            done += Work(probes=scored * _models(rehearsal, label, everybody, stayed))
    return done, rules


def together(rehearsal: Rehearsal, before: Members, after: Members) -> Work:
    """What is really done until all strategies' models can be served: each distinct central training once."""
    total, known = Work(), dict[str, Work]()
    for label in rehearsal.strategies:
        total += rehearsal.localizing(label, before, after)
        pools: Mapping[str, Work] = rehearsal.outcome(label, *([before] if before else []), after).pools
        for key, work in pools.items():
            if key in known:
                total -= work
            elif len(known) < MOST_TRAININGS:
                known[key] = work
    return total


def _models(rehearsal: Rehearsal, label: str, everybody: Members, members: Members) -> int:
    """How many models answer for a client while these are members."""
    history = [everybody] if members == everybody else [everybody, members]
    return rehearsal.outcome(label, *history).models
