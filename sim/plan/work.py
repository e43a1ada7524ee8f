"""The work that a scenario asks of its clients, before anything is done.

What joining and leaving take follows from what a strategy keeps: everybody's vector when it joins; the leaver's, where
something is summed; everybody's, where all are merged again. The rest is what localizing asks (``rehearsal``).
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from clients.settings import TuningSpec
from clients.work.rules import rule_of
from clients.work.site import HERE
from sim.life.asking import MOST_TRAININGS
from sim.life.system import Rule
from sim.plan.pairs import pairs
from sim.plan.rehearsal import Rehearsal
from sim.plan.sizes import Members
from sim.scenario.arrivals import OrderSpec
from sim.scenario.model import Scenario
from sim.stream import requests as stream
from strategies.work import Work

ADAPTIVE = "adaptive"
REHEARSED = 20_000
"""Members in all dry runs of a stream: of a longer one some releases are rehearsed, the others interpolated."""


@dataclass(frozen=True)
class Release:
    """Who leaves at it, and who is there afterwards; of these who has joined, and who has lost some examples."""

    leaving: Members
    staying: Members
    joining: Members = ()
    changed: Members = ()
    parts: tuple["Release", ...] = ()
    """What is carried out one after another, where that is more than one thing."""

    @property
    def before(self) -> Members:
        return (*self.leaving, *(client for client in self.staying if client not in self.joining))

    @property
    def unchanged(self) -> Members:
        """Who was there before with the same data as afterwards: to a strategy, a client with fewer examples is another."""
        return tuple(client for client in self.before if client not in self.changed)

    @property
    def forgets(self) -> bool:
        """Whether somebody asked to be forgotten; else all that localizing costs is a price of joining."""
        return bool(self.leaving or self.changed)


def releases_of(scenario: Scenario, clients: Members, seed: int) -> list[Release]:
    """The releases of a stream, in order."""
    found, staying = [], clients
    for batch in batches_of(scenario, seed):
        found.append(_release(batch.requests, staying))
        staying = found[-1].staying
    return found


def batches_of(scenario: Scenario, seed: int) -> list[stream.Batch]:
    """The requests of a stream by release. Whom an adaptive asker will choose is not known: others are drawn for them."""
    dataset, spec = HERE.dataset(scenario.data, seed), scenario.stream
    who = stream.beginning(spec, dataset.manifest.clients, seed)
    asked = stream.draw(spec, who, seed, dataset.shards)
    if spec.order.name == ADAPTIVE:
        others = iter(stream.draw(spec.model_copy(update={"order": OrderSpec()}), who, seed))
        asked = [request if request.client else replace(request, client=next(others).client) for request in asked]
    return stream.batches(spec, asked)


def _release(batch: Sequence[stream.Request], there: Members) -> Release:
    """What a batch comes to, and the requests of one kind in it that follow each other."""
    parts, staying = [], there
    for _, group in itertools.groupby(batch, key=lambda request: (request.kind, request.partial)):
        parts.append(_together(list(group), staying))
        staying = parts[-1].staying
    return replace(_together(batch, there), staying=staying, parts=tuple(parts))


def _together(batch: Sequence[stream.Request], there: Members) -> Release:
    """The same, carried out at once; who leaves and comes back in it counts as both."""
    asked = [request for request in batch if request.kind == stream.FORGET]
    leaving = tuple(request.client for request in asked if not request.partial)
    joining = tuple(request.client for request in batch if request.kind == stream.JOIN)
    staying = tuple(client for client in there if client not in leaving) + joining
    changed = tuple(request.client for request in asked if request.partial and request.client in staying)
    return Release(leaving, staying, joining, changed)


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
    tuned = sum(sum(tunings(rehearsal, label, release)[:1]) for release in releases)
    mine = [release for release in releases if release.forgets]
    return Work(tunings=tuned) + _localizing(rehearsal, label, mine)


def joining(rehearsal: Rehearsal, label: str, releases: Sequence[Release]) -> Work:
    """What those who join during the stream take; localizing counts here where nobody leaves at the same release."""
    tuned = sum(sum(tunings(rehearsal, label, release)[1:]) for release in releases)
    mine = [release for release in releases if not release.forgets]
    return Work(tunings=tuned) + _localizing(rehearsal, label, mine)


def tunings(rehearsal: Rehearsal, label: str, release: Release) -> tuple[int, int]:
    """How often a strategy's clients are tuned at a release, for those who leave and for those who join.

    A client who loses examples is derived with and without them. Where all are merged again, everybody gives its vector once
    more; where something of all pairs is kept, so too whenever somebody joins or changes.
    """
    strategy = rehearsal.strategies[label]
    if not strategy.rule:
        return 0, 0
    left = (len(release.leaving) + len(release.changed)) * strategy.derives
    if strategy.rereads:
        return left + len(release.staying), 0
    again = [_again(part) if _pairs(rehearsal, [label]) else 0 for part in release.parts or (release,)]
    changing = sum(many for many, part in zip(again, release.parts or (release,), strict=True) if part.changed)
    return left + len(release.changed) + changing, len(release.joining) + sum(again) - changing


def _pairs(rehearsal: Rehearsal, labels: Iterable[str]) -> bool:
    """Whether something of all pairs of clients is kept for one of these."""
    return any(part.joins_late for label in labels for part in rehearsal.strategies[label].parts)


def _again(release: Release) -> int:
    """Who is derived again, where something of all pairs is kept, because others join or change."""
    others = len(release.staying) - len(release.joining) - len(release.changed)
    return others if release.joining or release.changed else 0


def _localizing(rehearsal: Rehearsal, label: str, releases: Sequence[Release]) -> Work:
    formula = has_formula(rehearsal, label)
    return over(releases, lambda r: rehearsal.localizing(label, r.unchanged, r.staying), formula)


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
    for rule in rules:
        rules[rule] += sum(_really(rehearsal, rule, release) for release in releases)
    done = Work(tunings=sum(rules.values()))
    done += together(rehearsal, (), everybody)
    done += over(releases, lambda release: together(rehearsal, release.unchanged, release.staying), formula=False)
    done += sum((together(rehearsal, (), audit.staying) for audit in audits), Work())
    batches = batches_of(scenario, rehearsal.seed)
    published = [release.staying for release, batch in zip(releases, batches, strict=True) if batch.evaluated]
    new = {request.client for batch in batches for request in batch.requests if request.kind == stream.JOIN} - {*everybody}
    scored = len(everybody) + scenario.stream.unseen + len(new)  # newcomers counted from the start
    for label in strategies:
        models = [_models(rehearsal, label, everybody, members) for members in (everybody, *published)]
        done += Work(evaluations=scored * sum(models))
        if "gap" in scenario.audit:
            done += Work(probes=scored * _models(rehearsal, label, everybody, stayed))
    return done, rules


def pairs_of_run(rehearsal: Rehearsal, everybody: Members) -> dict[Rule, float]:
    """Pairs of clients, by rule, of which the server works out something: when all join, and once more in an audit."""
    stayed = remaining(releases_of(rehearsal.scenario, everybody, rehearsal.seed), everybody)
    rules = {strategy.rule for label, strategy in rehearsal.strategies.items() if _pairs(rehearsal, [label])}
    audited = pairs(len(stayed)) * ("bitwise" in rehearsal.scenario.audit)
    return {rule: pairs(len(everybody)) + audited for rule in rules}


def _really(rehearsal: Rehearsal, rule: Rule, release: Release) -> int:
    """Tunings that a release takes under a rule, for all strategies of the rule together."""
    mine = [label for label, strategy in rehearsal.strategies.items() if strategy.rule == rule]
    again = sum(map(_again, release.parts or (release,))) if _pairs(rehearsal, mine) else 0
    changed = len(release.changed)
    return derived(rehearsal, rule, release) + changed * (1 + _derives(rehearsal, rule)) + len(release.joining) + again


def derived(rehearsal: Rehearsal, rule: Rule, release: Release) -> int:
    """Tunings of those who leave in a release, whose vectors are taken out of a sum."""
    return len(release.leaving) * _derives(rehearsal, rule)


def _derives(rehearsal: Rehearsal, rule: Rule) -> bool:
    return any(strategy.derives for strategy in rehearsal.strategies.values() if strategy.rule == rule)


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
