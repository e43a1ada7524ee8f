"""The work that a scenario asks of its clients, before anything is done: pure functions of the scenario and who they are.

It follows from the deletion rule of a strategy and from who leaves and who stays at each release (``TUNED_AGAIN``,
``LOCALIZING``); a grid among its parameters costs evaluations, masks that are learned cost their ``steps`` for each member.
Evaluations of a grid are the most there can be: which of its values fall out early (``strategies.scale``), scores decide.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from clients.settings import TuningSpec
from sim.life.asking import MOST_TRAININGS
from sim.life.system import Rule, strategies_of
from sim.scenario.model import Scenario
from sim.stream import requests as stream
from strategies.edit.gradient_ascent import GradientAscent
from strategies.edit.l1_sparse import L1Sparse
from strategies.edit.linear_negation import LinearNegation
from strategies.edit.negmerge import LAMBDAS, NegMerge
from strategies.edit.salun import Salun
from strategies.retrain.apa import Apa
from strategies.retrain.central import Central
from strategies.retrain.sisa import Sisa
from strategies.scale import MOST_CLIENTS
from strategies.state.clusters import grouped, number
from strategies.strategy import DERIVES, Strategy


@dataclass(frozen=True)
class Work:
    """Client work, counted.

    Attributes:
        tunings: clients tuned under a tuning rule.
        mask_steps: gradient steps of learning masks, each on one client's data.
        pooled, pooled_steps, pooled_examples: clients in pools that are trained on together, the gradient steps of that, and
            the examples that they go through.
        evaluations: served models scored on a client, at most, to choose a setting or to tell what they are worth.
        probes: served models shown all of a client's examples, training and validation, for the gap to retraining.
    """

    tunings: int = 0
    mask_steps: int = 0
    pooled: int = 0
    pooled_steps: int = 0
    pooled_examples: int = 0
    evaluations: int = 0
    probes: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Work)})

    def __sub__(self, other: "Work") -> "Work":
        return Work(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(Work)})

    def gradient_steps(self, tuning: TuningSpec) -> int:
        return self.tunings * tuning.steps + self.mask_steps + self.pooled_steps


Members = tuple[str, ...]


@dataclass(frozen=True)
class Release:
    """Who leaves at it, and who stays."""

    leaving: Members
    staying: Members


def releases_of(scenario: Scenario, clients: Members, seed: int) -> list[Release]:
    """The releases of a stream, in order."""
    found, staying = [], clients
    for batch in stream.releases(stream.draw(scenario.stream, clients, seed), scenario.stream.release.every):
        leaving = tuple(request.client for request in batch)
        staying = tuple(client for client in staying if client not in leaving)
        found.append(Release(leaving, staying))
    return found


def left(scenario: Scenario, clients: Members, seed: int) -> Members:
    """Who is there after the stream."""
    releases = releases_of(scenario, clients, seed)
    return releases[-1].staying if releases else clients


# -- work -------------------------------------------------------------------------------------------------------------

TUNED_AGAIN: dict[str, Callable[[Release], int]] = {
    "erase": lambda release: 0,
    "subtract": lambda release: len(release.leaving),
    "relearn": lambda release: len(release.leaving),
    "rebuild": lambda release: len(release.staying),
    "retrain": lambda release: 0,
    "edit": lambda release: 0,
}
"""Clients tuned again at a release, by deletion rule; further work is that of localizing."""

LOCALIZING: dict[str, Callable[[Any, Members, Members], Work | None]] = {
    "erase": lambda strategy, before, after: choosing(strategy, len(after)),
    "subtract": lambda strategy, before, after: choosing(strategy, len(after)),
    "relearn": lambda strategy, before, after: (
        choosing(strategy, len(after)) + Work(mask_steps=strategy.parameters.steps * len(after))
    ),
    "rebuild": lambda strategy, before, after: choosing(strategy, len(after)),
    "retrain": lambda strategy, before, after: retraining(strategy, before, after),
    "edit": lambda strategy, before, after: editing(strategy, before, after),
}
"""What a strategy asks of its clients before a release, by deletion rule, if it was members ``before`` that it knew."""


def learning(strategy: Strategy[Any], members: Members) -> Work | None:
    """All members join, and the strategy localizes; None where the strategy's price is not known here."""
    own = localizing(strategy, (), members)
    return own and Work(tunings=len(members) if strategy.tuning else 0) + own


def forgetting(strategy: Strategy[Any], releases: Sequence[Release]) -> Work | None:
    """A whole stream of releases, the same way."""
    total = Work()
    for release in releases:
        own = localizing(strategy, (*release.leaving, *release.staying), release.staying)
        if own is None:
            return None
        total += Work(tunings=TUNED_AGAIN[strategy.deletion](release)) + own
    return total


def from_scratch(strategy: Strategy[Any], releases: Sequence[Release]) -> Work | None:
    """What forgetting would cost by learning again from those who stay at each release: tuning all, or what it does."""
    if strategy.tuning:
        return Work(tunings=sum(len(release.staying) for release in releases))
    parts = [learning(strategy, release.staying) for release in releases]
    return None if None in parts else sum((part for part in parts if part), Work())


def localizing(strategy: Strategy[Any], before: Members, after: Members) -> Work | None:
    """What it takes until the models of these members can be served; None where it is not known here."""
    return LOCALIZING[strategy.deletion](strategy, before, after) if strategy.deletion in LOCALIZING else None


def choosing(strategy: Strategy[Any], members: int) -> Work:
    """A parameter that holds several values is a grid, of which one is chosen by scores; of two, all pairs. At most."""
    parameters = strategy.parameters
    values = math.prod(len(value) for value in vars(parameters).values() if isinstance(value, tuple))
    if hasattr(parameters, "grid"):
        values = len(parameters.grid)
    return Work(evaluations=values * min(members, MOST_CLIENTS) if values > 1 else 0)


def retraining(strategy: Strategy[Any], before: Members, after: Members) -> Work | None:
    """Training on pooled data: all of it, or of SISA the shards from the first slice on whose members are others, or of APA
    the clusters whose members are others, and the scores of what was trained."""
    p = strategy.parameters
    if isinstance(strategy, Central):
        return _pool(p.steps, p.batch, len(after)) if set(before) != set(after) else Work()
    if isinstance(strategy, Apa):
        return _clusters_again(strategy, before, after)
    if not isinstance(strategy, Sisa):
        return None
    total = Work()
    for old, new in zip(strategy.slices_of(before), strategy.slices_of(after), strict=True):
        changed = [stage for stage in range(p.slices) if old[stage] != new[stage]]
        for stage in range(changed[0], p.slices) if changed else ():
            if new[stage]:
                total += _pool(p.steps, p.batch, sum(map(len, new[: stage + 1])))
    return total


def _clusters_again(strategy: Apa, before: Members, after: Members) -> Work:
    """Every cluster whose members are others is trained again and scored by all; who is new scores the others too.

    Who is nearest to which anchor is not known before: clusters by anchor are taken to be those by hash.
    """
    p = strategy.parameters
    old, new = (grouped({c: number(c, p.clusters, strategy.seed) for c in members}) for members in (before, after))
    changed = [name for name in new if new[name] != old.get(name)]
    scored = sum(len(changed) if client in before else len(new) for client in after)
    return sum((_pool(p.steps, p.batch, len(new[name])) for name in changed), Work(evaluations=scored))


def editing(strategy: Strategy[Any], before: Members, after: Members) -> Work | None:
    """A central model, or an edit of it with the data of those who leave."""
    p, gone = strategy.parameters, len(set(before) - set(after))
    if not after or not set(after) <= set(before):
        return _pool(p.steps, p.batch, len(after))
    if not gone:
        return Work()
    if isinstance(strategy, GradientAscent):
        return _pool(p.edit_steps, p.edit_batch, gone)
    if isinstance(strategy, L1Sparse):
        return _pool(p.edit_steps, p.edit_batch, len(after))
    if isinstance(strategy, Salun):  # two batches a step, and one pass to find the salient entries
        return _pool(2 * p.edit_steps + 1, p.edit_batch, gone + len(after))
    search = len(LAMBDAS) * (min(len(after), MOST_CLIENTS) + gone)
    if isinstance(strategy, LinearNegation):
        return _pool(p.edit_steps, p.edit_batch, gone) + Work(evaluations=search)
    if isinstance(strategy, NegMerge):
        tries = p.tunings if p.merge == "best" else 1
        return _pool(p.tunings * p.edit_steps, p.edit_batch, gone, p.tunings) + Work(evaluations=tries * search)
    return None


def _pool(steps: int, batch: int, clients: int, times: int = 1) -> Work:
    """So many steps on the data of so many clients, who are asked so many times."""
    return Work(pooled=times * clients, pooled_steps=steps, pooled_examples=steps * batch) if clients else Work()


def of_run(scenario: Scenario, everybody: Members, seed: int) -> tuple[Work, dict[Rule, int]] | None:
    """What is really done for one seed, and its tunings by rule: each client tuned once per rule, vectors derived once per
    rule, every distinct central training once per release, every strategy's own other work, evaluation and audit. None where
    the price of a strategy is not known."""
    strategies, releases = strategies_of(scenario, seed), releases_of(scenario, everybody, seed)
    stayed = left(scenario, everybody, seed)
    audits = [stayed] * ("bitwise" in scenario.audit)
    tuned = len(everybody) + sum(map(len, audits))
    rules: dict[Rule, int] = {strategy.tuning: tuned for strategy in strategies.values() if strategy.tuning}
    for rule in {strategy.tuning for strategy in strategies.values() if strategy.deletion in DERIVES}:
        rules[rule] += len(everybody) - len(stayed)
    gone = list(itertools.accumulate(len(release.leaving) for release in releases))
    published = [everybody] + [
        release.staying
        for release, count in zip(releases, gone, strict=True)
        if count in (scenario.stream.evaluate_after or ())
    ]
    done = Work(tunings=sum(rules.values()))
    steps: list[tuple[Members, Members]] = [
        ((), everybody),
        *(((*r.leaving, *r.staying), r.staying) for r in releases),
        *(((), each) for each in audits),
    ]
    for before, after in steps:
        own = together(list(strategies.values()), before, after)
        if own is None:
            return None
        done += own
    for strategy in strategies.values():
        scored = len(everybody) + scenario.stream.unseen
        done += Work(evaluations=sum(scored * served_models(strategy, members) for members in published))
        if "gap" in scenario.audit:
            done += Work(probes=scored * served_models(strategy, stayed))
    return done, rules


def together(strategies: Sequence[Strategy[Any]], before: Members, after: Members) -> Work | None:
    """What is really done until all strategies' models can be served: each distinct central training once."""
    total, known = Work(), set[tuple[int, int]]()
    for strategy in strategies:
        own, pool = localizing(strategy, before, after), whole_pool(strategy, before, after)
        if own is None:
            return None
        total += own
        if pool in known:
            total -= _pool(*pool, len(after))
        elif pool is not None and len(known) < MOST_TRAININGS:
            known.add(pool)
    return total


def whole_pool(strategy: Strategy[Any], before: Members, after: Members) -> tuple[int, int] | None:
    """Steps and batch of the training from θ0 on all members, if there is one in what localizing takes."""
    if not after:
        return None
    trains = strategy.deletion == "edit" and not set(after) <= set(before)
    if isinstance(strategy, Central):
        trains = set(before) != set(after)
    elif isinstance(strategy, Sisa):  # where everybody is in one slice
        shards = zip(strategy.slices_of(before), strategy.slices_of(after), strict=True)
        changed = [one for old, new in shards for i, one in enumerate(new) if old[: i + 1] != new[: i + 1]]
        trains = any(len(one) == len(after) for one in changed)
    return (strategy.parameters.steps, strategy.parameters.batch) if trains else None


def served_models(strategy: Strategy[Any], members: Members) -> int:
    """How many models answer for a client: the shards that somebody is in, or one."""
    if not isinstance(strategy, Sisa):
        return 1
    return max(1, sum(any(shard) for shard in strategy.slices_of(members)))
