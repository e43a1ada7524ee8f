"""How fast client work is on this machine, measured in this process before a scenario runs.

A few clients of all sizes are tuned for a few steps under each rule, and scored. A second tuning with more steps tells what
a step takes and what a client takes beside its steps. What they take on average is put on all clients by the number of
examples; tokens are those of encoded examples (of labels that are ranked, only the right one). Of the side that is reported
and that on which settings are chosen, every scoring is counted as one of the larger.

Where the server keeps something of all pairs of clients, that is measured too: it grows with their square.

What tunings and scorings take is measured again for a part of the time that the run takes, and the mean counts.

Memory is that of the clients whose passes are the largest, in tuning and in scoring: each is tuned for a step and scored.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from clients.data.dataset import Example, Shard
from clients.data.shards import Sides
from clients.errors import WorkError
from clients.jobs import Job, Reply, perform, score_job, tune_job
from clients.models.flat import SCORED_AT_ONCE
from clients.settings import TuningSpec
from clients.work.contributions import Wanted
from clients.work.rules import rule_of
from clients.work.scoring import Part as PartOfData
from clients.work.scoring import side_of
from clients.work.served import BASE
from clients.work.site import Site
from sim.life.system import Rule, bounds_of, parts_by_rule, strategies_of
from sim.plan import machine
from sim.plan.pairs import pair_seconds
from sim.plan.sizes import Sizes
from sim.scenario.model import Scenario
from strategies.state.kept import Kept
from strategies.state.part import Part

CLIENTS = 8
"""How many clients are measured. One of the mean size would not do: a step takes longer by more than its examples."""
MORE_STEPS = 4
"""By how many steps the second tuning is longer at least; where steps are short, it has as many as a scenario asks for."""
TIMES = 3
"""How often each is measured, if it is not long; the mean counts: a run is not spared the machine's slow moments."""
PARTS: tuple[PartOfData, ...] = ("reported", "chosen_on")
SPENT = 2.0
"""Seconds that measuring one thing takes about, where clients and steps are many."""
SHARE, MOST = 1 / 10, 60.0
"""For what part of a run's time its speeds are measured, and for how many seconds at most."""
LONG = 5.0
"""Seconds of one step from which it is not worth to warm up and measure again, and of measuring one thing."""


@dataclass(frozen=True)
class Speeds:
    """What a client of the mean size takes on one worker.

    Attributes:
        joining: seconds of a tuning beside its steps, by rule.
        step: seconds of a gradient step, likewise.
        score: seconds of scoring one served model.
        step_examples: examples of a step, on average over all clients.
        example_tokens: tokens of one of them.
        score_tokens: tokens that a scoring passes through the model.
        peak: the most memory that this process has needed for it, in bytes.
        whole: how many times as many examples are probed, trained on and reported, as are scored.
        pair: seconds in which the server works out what it keeps of a pair of clients, by rule; 0 where it keeps nothing.
    """

    joining: Mapping[Rule, float]
    step: Mapping[Rule, float]
    score: float
    step_examples: float
    example_tokens: float
    score_tokens: float
    peak: int
    whole: float = 1.0
    pair: Mapping[Rule, float] = field(default_factory=dict)


def calibrate(scenario: Scenario, site: Site, sizes: Sizes) -> tuple[Sizes, Speeds]:
    """Measure; also the sizes with what only shows in the work.

    Raises:
        WorkError: a client cannot be tuned or scored.
    """
    tuning = scenario.tuning
    shards, wanted = _by_size(site.shards(), tuning), _wanted(scenario, site)
    most = largest(shards, tuning)
    pair: dict[Rule, float] = {}
    for rule, parts in _kept(scenario, site).items():
        replies = [_tuned(site, tune_job([shard.client], rule, wanted[rule]), 1) for shard in most]
        width = max((array.size for name, array in replies[0].arrays.items() if name.startswith("features/")), default=0)
        sizes = replace(sizes, features=max(sizes.features, width))
        late = [part for part in parts if part.joins_late]
        pair[rule] = pair_seconds(site, rule, late, replies[0], scenario.workers.cohort)
    for each in PARTS:
        _done(site, score_job([(shard.client, BASE) for shard in most], part=each))
    mean = statistics.fmean(batch_size(shard, tuning) for shard in shards)
    tokens = statistics.fmean(
        encoded.tokens for shard in some_of(shards, CLIENTS) for encoded in site.model.encode(shard.train)
    )
    _, examples = _scored(site.manifest.sides, shards)
    probed = sum(len(shard.train) + len(shard.side(site.manifest.sides.reported)) for shard in shards)
    whole = probed / (len(shards) * examples)
    speeds = paced(site, shards, wanted, Speeds({}, {}, 0.0, mean, tokens, 0.0, 0, whole, pair))
    return sizes, replace(speeds, peak=max(sizes.process, machine.peak()))


def paced(site: Site, shards: Sequence[Shard], wanted: Mapping[str, Sequence[Wanted]], speeds: Speeds) -> Speeds:
    """The same clients at the machine's speed of now: what tunings and scorings take is measured.

    Args:
        shards: all, the smallest first.
        wanted: what clients send, by rule.

    Raises:
        WorkError: as ``calibrate``.
    """
    joining: dict[Rule, float] = {}
    step: dict[Rule, float] = {}
    for rule, wants in wanted.items():
        step[rule], joining[rule] = _tuning_seconds(site, shards, speeds.step_examples, rule, wants)
    score, tokens = _scoring(site, shards, *_scored(site.manifest.sides, shards))
    return replace(speeds, joining=joining, step=step, score=score, score_tokens=tokens)


def measured(
    scenario: Scenario, site: Site, sizes: Sizes, run: Callable[[Sizes, Speeds], float], scenarios: int = 1
) -> tuple[Sizes, Speeds]:
    """Measure for a part of the time that the run takes, again and again: a machine is not as fast at all moments.

    Args:
        run: the seconds of the whole run.
        scenarios: how many share the ``MOST`` seconds; each is measured once at least.

    Raises:
        WorkError: as ``calibrate``.
    """
    started = time.monotonic()
    sizes, speeds = calibrate(scenario, site, sizes)
    found, enough = [speeds], min(MOST / scenarios, SHARE * run(sizes, speeds))
    again = partial(paced, site, _by_size(site.shards(), scenario.tuning), _wanted(scenario, site))
    while time.monotonic() - started < enough:
        found.append(again(speeds))
    return sizes, mean_of(found)


def _kept(scenario: Scenario, site: Site) -> dict[str, Sequence[Part]]:
    """What is kept of each client, by rule; a rule with gradient steps is among them where the scenario has no other."""
    by_rule = parts_by_rule(strategies_of(scenario, site.settings.seed))
    kept: dict[str, Sequence[Part]] = {rule: parts for rule, parts in by_rule.items() if rule is not None}
    if not any(rule_of(rule).steps(scenario.tuning) for rule in kept):  # pooled data takes plain steps without a rule
        kept.setdefault("plain", ())
    return kept


def _wanted(scenario: Scenario, site: Site) -> dict[str, list[Wanted]]:
    """What clients send for it."""
    seed, kept = site.settings.seed, _kept(scenario, site)
    return {rule: list(Kept(Path(), rule, bounds_of(site, rule), parts, seed).wants()) for rule, parts in kept.items()}


def mean_of(found: Sequence[Speeds]) -> Speeds:
    """The mean of seconds that were measured several times."""

    def by_rule(each: Sequence[Mapping[Rule, float]]) -> dict[Rule, float]:
        return {rule: statistics.fmean(one[rule] for one in each) for rule in each[0]}

    return replace(
        found[0],
        joining=by_rule([speeds.joining for speeds in found]),
        step=by_rule([speeds.step for speeds in found]),
        score=statistics.fmean(speeds.score for speeds in found),
    )


def batch_size(shard: Shard, tuning: TuningSpec) -> int:
    """Examples of one gradient step."""
    return len(shard.train) if tuning.batch == "full" else min(tuning.batch, len(shard.train))


def some_of(shards: Sequence[Shard], count: int) -> list[Shard]:
    """So many of these, one at least and ``CLIENTS`` at most: those at evenly spaced places."""
    count = max(1, min(count, CLIENTS, len(shards)))
    return [shards[(2 * place + 1) * len(shards) // (2 * count)] for place in range(count)]


def largest(shards: Sequence[Shard], tuning: TuningSpec) -> list[Shard]:
    """The client, or the two, whose largest pass in tuning and in scoring is the largest; of equals the first by name.

    A pass is as large as its examples times the characters of the longest of them; pictures are all alike.
    """

    def scored(shard: Shard) -> int:
        return _pass(shard.examples, SCORED_AT_ONCE, tuning)

    by_name = sorted(shards, key=lambda shard: shard.client)
    both = max(by_name, key=partial(_trained, tuning=tuning)), max(by_name, key=scored)
    return list({shard.client: shard for shard in both}.values())


def _by_size(shards: Iterable[Shard], tuning: TuningSpec) -> list[Shard]:
    """The smallest first; of equals the first by name."""
    return sorted(shards, key=lambda shard: (_trained(shard, tuning), shard.client))


def _trained(shard: Shard, tuning: TuningSpec) -> int:
    return _pass(shard.train, batch_size(shard, tuning), tuning)


def _pass(examples: Sequence[Example], batch: int, tuning: TuningSpec) -> int:
    together = min(len(examples), batch, tuning.micro_batch or batch)
    return together * max((len(example.prompt) + len(example.answer) + 1 for example in examples), default=0)


def _tuning_seconds(
    site: Site, shards: Sequence[Shard], mean: float, rule: str, wants: Iterable[Wanted]
) -> tuple[float, float]:
    """Seconds of a step and of a tuning beside its steps, per client.

    Args:
        shards: all, the smallest first; where steps are long, fewer are measured, in the end one in the middle.
        mean: examples of a step, on average over all clients.
    """
    tuning, (middle,) = site.settings.tuning, some_of(shards, 1)
    first = _seconds(site, tune_job([middle.client], rule, wants), 1)  # also makes what is made once a process, as anchors
    if first < LONG:
        first = _seconds(site, tune_job([middle.client], rule, wants), 1)
    measured = some_of(shards, int(LONG / (first * (1 + MORE_STEPS))))
    larger = mean / (len(measured) * statistics.fmean(batch_size(shard, tuning) for shard in measured))
    asked = rule_of(rule).steps(tuning)
    job = tune_job([shard.client for shard in measured], rule, wants)
    one = first if first >= LONG else _mean(partial(_seconds, site, job, 1))
    if not asked:  # a rule without gradient steps
        return 0.0, larger * one
    more = max(MORE_STEPS, min(asked - 1, int(SPENT / (TIMES * first * len(measured)))))
    longer = _mean(partial(_seconds, site, job, 1 + more)) if first < LONG else one
    each = (longer - one) / more if longer > one else one
    return larger * each, larger * max(one - each, 0.0)


def _mean(measured: Callable[[], float]) -> float:
    """The mean of a few measurements."""
    found = [measured()]
    while len(found) < TIMES and sum(found) < LONG:
        found.append(measured())
    return statistics.fmean(found)


def _seconds(site: Site, job: Job, steps: int) -> float:
    return float(_tuned(site, job, steps).facts["seconds"])


def _tuned(site: Site, job: Job, steps: int) -> Reply:
    tuning = site.settings.tuning.model_copy(update={"steps": steps})
    return _done(replace(site, settings=site.settings.model_copy(update={"tuning": tuning})), job)


def _scoring(site: Site, shards: Sequence[Shard], part: PartOfData, examples: float) -> tuple[float, float]:
    """Seconds and tokens of scoring a client, on average over all, measured on some that have examples there.

    Args:
        part: what is scored.
        examples: of it, on average over all clients.
    """
    side = side_of(site.manifest.sides, part)
    by_size = sorted((shard for shard in shards if shard.side(side)), key=lambda s: (len(s.side(side)), s.client))
    first = _scoring_seconds(site, some_of(by_size, 1), part)
    measured = some_of(by_size, int(LONG / first))
    seconds = first if first >= LONG else _mean(partial(_scoring_seconds, site, measured, part))
    larger = examples / sum(len(shard.side(side)) for shard in measured)
    tokens = sum(encoded.tokens for shard in measured for encoded in site.model.encode(shard.side(side)))
    return larger * seconds, larger * tokens


def _scoring_seconds(site: Site, shards: Sequence[Shard], part: PartOfData) -> float:
    return float(_done(site, score_job([(shard.client, BASE) for shard in shards], part=part)).facts["seconds"])


def _scored(sides: Sides, shards: Sequence[Shard]) -> tuple[PartOfData, float]:
    """The part of the data that most examples are scored of, and how many, on average over all clients."""
    means = {part: statistics.fmean(len(shard.side(side_of(sides, part))) for shard in shards) for part in PARTS}
    return max(means.items(), key=lambda item: item[1])


def _done(site: Site, job: Job) -> Reply:
    """A job's reply. On a CPU its seconds are of the processor, which other work on the machine does not lengthen."""
    started = time.process_time()
    reply = perform(site, job, {})
    if reply.error:
        raise WorkError(f"{job.kind} for {', '.join(job.clients)} failed: {reply.error}")
    if site.settings.device != "cpu":
        return reply
    return replace(reply, facts=reply.facts | {"seconds": time.process_time() - started})
