"""Dry runs: a strategy localizes on a made-up small state, and what it asks of its clients is counted.

The strategy's own code runs, so its price follows from what it does; nothing here knows which strategy it is. Task vectors
are ``BOUNDS[-1]`` zeros, a client's answer is a constant, and who is a member is real. Constants tell no candidate of a grid
from another, so evaluations are the most there can be. Deviations: spectral clusters are as many as asked for and of equal
size, and clusters by anchor are those by hash, as who is nearest to which anchor is not known before.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clients.jobs import Job, Reply, evaluations_of, served_in
from clients.work.pooled import Training
from clients.work.served import Served
from sim.life.asking import Asker, training_key
from sim.life.evaluation import CLIENTS_PER_WAVE
from sim.life.system import Rule, strategies_of
from sim.plan.sizes import Members, Sizes
from sim.scenario.model import Scenario
from strategies.state.clusters import number
from strategies.state.kept import Kept
from strategies.state.layout import Layout
from strategies.state.part import Part
from strategies.state.store import Memory
from strategies.strategy import Strategy
from strategies.work import Work

BOUNDS = (0, 8, 16)
"""Tensors of a made-up vector."""
SCORE = 0.5
NOBODY = "\N{NULL}nobody"
"""A client who is no member: it is served what anybody gets."""


@dataclass(frozen=True)
class Outcome:
    """What came of localizing.

    Attributes:
        work: what it asked of clients.
        longest: what cannot be divided among workers: of each stage the largest job.
        pools: the trainings from θ0 on all members among it, each with its work: strategies share them.
        masks, vectors: how many files of its own the strategy has afterwards that hold a mask or a vector of d entries.
        other: bytes of its other files.
        models: how many models answer for a member.
        most_vectors: vectors of d entries that are in memory at a time while clients are asked or served.
        served: what the clients of a wave are served, as the shapes of arrays of their own.
    """

    work: Work
    longest: Work
    pools: Mapping[str, Work]
    masks: int
    vectors: int
    other: int
    models: int
    most_vectors: int
    served: tuple[tuple[int, np.dtype[Any]], ...]


class Rehearsal:
    """Dry runs of a scenario's strategies for one seed; each is done once."""

    def __init__(self, scenario: Scenario, sizes: Sizes, seed: int) -> None:
        self.scenario, self.sizes, self.seed = scenario, sizes, seed
        self.strategies = strategies_of(scenario, seed, joining=sizes.clients)
        self._known: dict[tuple[Any, ...], Outcome] = {}

    def bounds(self, rule: Rule) -> tuple[int, ...]:
        """Tensors of a vector in a dry run: made up for task vectors; those of other rules have their true shape."""
        return self.sizes.rules.get(rule, BOUNDS)

    def layout(self, rule: Rule) -> Layout:
        """The real sizes of what is kept under a rule."""
        return self.sizes.layout(rule, self.seed)

    def outcome(self, label: str, *history: Members) -> Outcome:
        """Of the last of several releases, if a strategy localizes for these members one after another, from nothing."""
        steps = [tuple(sorted(members)) for members in history]
        if (key := (label, *steps)) not in self._known:
            strategy = strategies_of(self.scenario, self.seed, joining=self.sizes.clients)[label]
            strategy.store = Memory()
            for members in steps:
                bounds, halved = self.bounds(strategy.rule), self.sizes.halved
                kept = Kept(Path(), strategy.rule, bounds, strategy.parts, self.seed, halved=halved)
                self._known[key] = _localized(strategy, kept, members)
        return self._known[key]

    def localizing(self, label: str, before: Members, after: Members) -> Work:
        """What it asks of clients when members ``before`` have become those ``after``: its own formula, or a dry run."""
        told = self.strategies[label].work(before, after)
        return told if told is not None else self.outcome(label, *([before] if before else []), after).work

    def sent(self, rule: Rule, parts: Iterable[Part]) -> list[tuple[int, np.dtype[Any]]]:
        """Sizes and types of the arrays that a client sends when it joins, in a dry run."""
        wants = Kept(Path(), rule, self.bounds(rule), parts, self.seed).wants()
        return [(int(np.prod(shape)), np.dtype(kind)) for shape, kind in filter(None, wants.values())]

    def bytes_of(self, size: int, dtype: np.dtype[Any], rule: Rule) -> int:
        """Real bytes of an array of a dry run, if it is a vector or a packed mask; 0 for anything small."""
        entries = self.bounds(rule)[-1]
        if (size, dtype) == (entries, np.dtype(np.float32)):
            return 4 * self.layout(rule).size
        mask = (size, dtype) == ((entries + 7) // 8, np.dtype(np.uint8))
        return self.layout(rule).mask_bytes if mask else 0


def rehearsals_of(scenario: Scenario, sizes: Sizes) -> list[Rehearsal]:
    """One for each seed."""
    return [Rehearsal(scenario, sizes, seed) for seed in scenario.seeds]


class Counting:
    """Workers who count what they are asked, and answer constants."""

    def __init__(self, kept: Kept) -> None:
        self.kept, self.work, self.longest, self.most_vectors = kept, Work(), Work(), 0
        self.pools: dict[str, Work] = {}

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        """See ``Workers.run``."""
        self.most_vectors = max(self.most_vectors, len(shared))
        before = largest = Work()
        for index, job in enumerate(jobs):
            work, facts, arrays = self._answer(job)
            self.work += work
            before, largest = largest, largest.largest(work)
            self.longest += largest - before
            if (key := training_key(self.kept, job)) is not None:
                self.pools[key] = work
            yield index, Reply(job.clients, facts, arrays)

    def _answer(self, job: Job) -> tuple[Work, dict[str, Any], dict[str, np.ndarray]]:
        match job.kind:
            case "learn_mask":
                mask = np.zeros(self.kept.layout.mask_bytes, dtype=np.uint8)
                return Work(mask_steps=job.facts["steps"] * len(job.clients)), {}, {"mask": mask}
            case "train":
                training = Training.model_validate(job.facts["training"])
                steps = training.gradients
                work = Work(pooled=len(job.clients), pooled_steps=steps, pooled_examples=steps * training.batch)
                return work, {}, {"vector": np.zeros(self.kept.size, dtype=np.float32)}
            case "score":
                asked = served_in(job)
                evaluations = evaluations_of(asked)
                passes = sum(served.passes(len(scales)) for served, scales in asked)
                scores = [[SCORE] * len(scales) for _, scales in asked]
                return Work(evaluations=evaluations, spared=max(0, evaluations - passes)), {"scores": scores}, {}
            case "assign":
                count = job.facts["anchors"]
                return Work(), {"anchors": {client: number(client, count, self.kept.seed) for client in job.clients}}, {}
        raise NotImplementedError(f"a dry run has no answer to a job of the kind {job.kind}")


def _localized(strategy: Strategy[Any], kept: Kept, members: Members) -> Outcome:
    """Localize for members that are only imagined."""
    kept.imagine(members)
    workers = Counting(kept)
    strategy.localize(kept, Asker(workers, strategy))
    strategy.save()
    strategy.load()
    wave = [strategy.serve(kept, client) for client in (*members[:CLIENTS_PER_WAVE], NOBODY)]
    files = Counter((f".{name.rpartition('.')[2]}", size) for name, size in strategy.sizes().items())
    masks, vectors = files[".bits", kept.layout.mask_bytes], files[".safetensors", kept.layout.vector_bytes]
    scaled = masks * kept.layout.mask_bytes + vectors * kept.layout.vector_bytes
    return Outcome(
        work=workers.work,
        longest=workers.longest,
        pools=workers.pools,
        masks=masks,
        vectors=vectors,
        other=sum(size * count for (_, size), count in files.items()) - scaled,
        models=max(served.models for served in wave),
        most_vectors=max(workers.most_vectors, _vectors(wave)),
        served=tuple((array.size, array.dtype) for served in wave for array in served.arrays.values()),
    )


def _vectors(wave: Sequence[Served]) -> int:
    """Vectors in memory while a wave is served: the shared ones, and what a model is built in if it takes more."""
    shared = {name for served in wave for name in served.shared}
    return len(shared) + max(served.vectors - len(served.shared) for served in wave)
