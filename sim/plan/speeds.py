"""How fast client work is on this machine, measured in this process before a scenario runs.

Two clients of about the mean size are tuned for a few steps under each rule, and one is scored. A second tuning with
more steps tells what a step takes and what a client takes beside its steps. Both are put on the mean client by the number of
its examples; tokens are those of encoded examples (of labels that are ranked, only the right one). Of the side that is
reported and that on which settings are chosen, every scoring is counted as one of the larger.

Where the server keeps something of all pairs of clients, that is measured too: it grows with their square.

Memory is that of the clients whose passes are the largest, in tuning and in scoring: each is tuned for a step and scored.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from clients.data.dataset import Example, Shard
from clients.errors import WorkError
from clients.jobs import Job, Reply, perform, score_job, tune_job
from clients.models.flat import SCORED_AT_ONCE
from clients.settings import TuningSpec
from clients.work.contributions import SUM, Wanted
from clients.work.rules import rule_of
from clients.work.served import BASE
from clients.work.site import Site
from sim.life.system import Rule, bounds_of, grid_of, parts_by_rule, strategies_of
from sim.plan import machine
from sim.plan.sizes import Sizes
from sim.scenario.model import Scenario
from strategies.state.kept import Kept
from strategies.state.part import Part
from strategies.state.store import Folder

MORE_STEPS = 4
TIMES = 5
"""How often each is measured, if it is not long; the median counts: the shortest would be what a run never keeps up."""
JOINING = (4, 24)
"""How many clients join, to see what the server takes for a pair."""
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
    shards, tuning = list(site.shards()), scenario.tuning
    mean = statistics.fmean(batch_size(shard, tuning) for shard in shards)
    most = largest(shards, tuning)
    typical = nearest(shards, tuning, mean)
    larger = mean / statistics.fmean(batch_size(shard, tuning) for shard in typical)
    seed = site.settings.seed
    kept = {rule: parts for rule, parts in parts_by_rule(strategies_of(scenario, seed)).items() if rule is not None}
    joining: dict[Rule, float] = {}
    step: dict[Rule, float] = {}
    pair: dict[Rule, float] = {}
    if not any(rule_of(rule).steps(tuning) for rule in kept):  # training on pooled data takes plain steps without a rule
        kept.setdefault("plain", ())
    for rule, parts in kept.items():
        wants = Kept(Path(), rule, bounds_of(site, rule), parts, seed).wants()
        each, beside, width = _tuning_seconds(site, typical, rule, wants)
        replies = [_tuned(site, tune_job([shard.client], rule, wants), 1) for shard in most]
        pair[rule] = _pair_seconds(site, rule, [part for part in parts if part.joins_late], replies[0])
        step[rule], joining[rule] = larger * each, larger * beside
        sizes = replace(sizes, features=max(sizes.features, width))
    tokens = statistics.fmean(encoded.tokens for shard in typical for encoded in site.model.encode(shard.train))
    score, score_tokens = _scoring(site, typical[0])
    for part in ("reported", "chosen_on"):
        _done(site, score_job([(shard.client, BASE) for shard in most], part=part))
    probed = sum(len(shard.train) + len(shard.side(site.manifest.sides.reported)) for shard in shards)
    whole = probed / (len(shards) * _scored(site))
    return sizes, Speeds(joining, step, score, mean, tokens, score_tokens, max(sizes.process, machine.peak()), whole, pair)


def batch_size(shard: Shard, tuning: TuningSpec) -> int:
    """Examples of one gradient step."""
    return len(shard.train) if tuning.batch == "full" else min(tuning.batch, len(shard.train))


def nearest(shards: Sequence[Shard], tuning: TuningSpec, mean: float) -> list[Shard]:
    """The two clients, or the one there is, whose batches are nearest to the mean."""
    return sorted(shards, key=lambda shard: (abs(batch_size(shard, tuning) - mean), shard.client))[:2]


def largest(shards: Sequence[Shard], tuning: TuningSpec) -> list[Shard]:
    """The client, or the two, whose largest pass in tuning and in scoring is the largest; of equals the first by name.

    A pass is as large as its examples times the characters of the longest of them; pictures are all alike.
    """

    def trained(shard: Shard) -> int:
        return _pass(shard.train, batch_size(shard, tuning), tuning)

    def scored(shard: Shard) -> int:
        return _pass(shard.examples, SCORED_AT_ONCE, tuning)

    by_name = sorted(shards, key=lambda shard: shard.client)
    return list({shard.client: shard for shard in (max(by_name, key=trained), max(by_name, key=scored))}.values())


def _pass(examples: Sequence[Example], batch: int, tuning: TuningSpec) -> int:
    together = min(len(examples), batch, tuning.micro_batch or batch)
    return together * max((len(example.prompt) + len(example.answer) + 1 for example in examples), default=0)


def _tuning_seconds(site: Site, shards: Sequence[Shard], rule: str, wants: Iterable[Wanted]) -> tuple[float, float, int]:
    """Seconds of a step and of a tuning beside its steps, per client, and the width of its features."""
    job = tune_job([shard.client for shard in shards], rule, wants)
    reply = _tuned(site, job, 1)  # also makes what is made once a process, as anchors
    one = more = float(reply.facts["seconds"])
    if one < LONG:
        one, more = (_typical(partial(_seconds, site, job, steps)) for steps in (1, 1 + MORE_STEPS))
    each = (more - one) / MORE_STEPS if more > one else one
    if not rule_of(rule).steps(site.settings.tuning):  # a rule without gradient steps
        each = 0.0
    width = max((array.size for name, array in reply.arrays.items() if name.startswith("features/")), default=0)
    return each / len(shards), max(one - each, 0.0) / len(shards), width


def _typical(measured: Callable[[], float]) -> float:
    """The median of a few measurements."""
    found = [measured()]
    while len(found) < TIMES and sum(found) < LONG:
        found.append(measured())
    return statistics.median(found)


def _seconds(site: Site, job: Job, steps: int) -> float:
    return float(_tuned(site, job, steps).facts["seconds"])


def _pair_seconds(site: Site, rule: str, parts: Sequence[Part], reply: Reply) -> float:
    """Seconds of the server for a pair, of which it keeps these parts: a few clients join, then others, who are all alike.

    The first n take n·c + n(n + 1)/2·p, so that c, what each takes by itself, falls out of two measurements.
    """
    if not parts:
        return 0.0
    (client,) = reply.clients
    few, many = JOINING
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = Kept(folder, rule, bounds_of(site, rule), parts, site.settings.seed, Folder(folder), grid=grid_of(site, rule))
        wanted = {each.key for each in kept.wants()}
        spent, started = 0.0, time.process_time()
        for number in range(many):
            kept.absorb(_called(reply, client, str(number), wanted))
            if number + 1 == few:
                spent = time.process_time() - started
        longer = time.process_time() - started
    return max(0.0, (longer - spent * many / few) / (pairs(many) - pairs(few) * many / few))


def pairs(clients: int) -> float:
    """Pairs of so many clients, each with itself too."""
    return clients * (clients + 1) / 2


def _called(reply: Reply, client: str, name: str, wanted: Container[str]) -> Reply:
    """The same, of a client of another name, with the arrays that are wanted."""
    sent = {key.partition("/")[0]: array for key, array in reply.arrays.items() if key != SUM.key}
    arrays = {f"{key}/{name}": array for key, array in sent.items() if key in wanted}
    return Reply((name,), reply.facts | {"tunings": {name: reply.facts["tunings"][client]}}, arrays)


def _tuned(site: Site, job: Job, steps: int) -> Reply:
    tuning = site.settings.tuning.model_copy(update={"steps": steps})
    return _done(replace(site, settings=site.settings.model_copy(update={"tuning": tuning})), job)


def _scoring(site: Site, shard: Shard) -> tuple[float, float]:
    """Seconds and tokens of scoring a client of the mean size, measured on one, on what it is trained on."""
    job = score_job([(shard.client, BASE)], part="train")
    seconds = _typical(lambda: float(_done(site, job).facts["seconds"]))
    larger = _scored(site) / len(shard.train)
    return larger * seconds, larger * sum(encoded.tokens for encoded in site.model.encode(shard.train))


def _scored(site: Site) -> float:
    """Examples of a scoring, on average over all clients."""
    sides = {site.manifest.sides.reported, site.manifest.sides.chosen_on}
    return max(statistics.fmean(len(shard.side(side)) for shard in site.shards()) for side in sides)


def _done(site: Site, job: Job) -> Reply:
    """A job's reply. On a CPU its seconds are of the processor, which other work on the machine does not lengthen."""
    started = time.process_time()
    reply = perform(site, job, {})
    if reply.error:
        raise WorkError(f"{job.kind} for {', '.join(job.clients)} failed: {reply.error}")
    if site.settings.device != "cpu":
        return reply
    return replace(reply, facts=reply.facts | {"seconds": time.process_time() - started})
