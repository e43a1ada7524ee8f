"""Heads on the frozen base model that a client is served: each is solved where it is scored, from sums that were sent.

    Head        softmax(W · [features, 1]), W a shared array or the client's own
    Prior       log p + scale · log(n + smoothing)               p of the frozen model, n counts of labels
    ClassMeans  −‖φ − μ‖², μ the mean φ of each label
    Ridge       W · φ + mix · log p, W = (ΣG + κ·G_t + λI)⁻¹ (ΣB + κ·B_t)

φ is that of ``embedding``; n, B and G are those of ``statistics``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

import numpy as np

from clients.data.dataset import Example, LabelSet, Shard
from clients.errors import InputError
from clients.exact.determinism import deterministic
from clients.work import statistics
from clients.work.bench import Arrays, Bench, M, Measure, Served
from clients.work.embedding import matmul
from clients.work.head import HeadModel, Labelling, labels_of, numbering

Setting = tuple[float, float, float]
"""λ, κ and mix of a ridge head."""
Told = Callable[[Sequence[Example]], np.ndarray]


@dataclass(frozen=True)
class Head(Served):
    """Labels by softmax(W · [features, 1]) of the base model's features.

    Attributes:
        direction: name of a shared W, flattened fp32 [labels · (width + 1)], or [labels] for biases alone.
        own: the same of this client alone, used instead.
    """

    kind: ClassVar[str] = "head"
    direction: str | None = None
    own: np.ndarray | None = None

    @property
    def shared(self) -> tuple[str, ...]:
        return () if self.direction is None else (self.direction,)

    def measured(self, bench: Bench, shard: Shard, shared: Arrays, scales: Iterable[float], by: Measure[M]) -> Iterator[M]:
        weights = shared[self.direction] if self.own is None and self.direction is not None else self.own
        if weights is None:
            raise InputError("a head needs weights: the name of a shared array, or its own")
        bench.model.reset()
        yield by.alone(HeadModel(bench.model, weights, bench.label_sets), shard)


class Answering(Labelling):
    """A model that answers by a function of examples: a number for each label, float64 [examples, labels]."""

    def __init__(self, label_sets: Mapping[str, LabelSet], told: Told) -> None:
        super().__init__(label_sets)
        self.told = told

    def logits(self, examples: Sequence[Example]) -> np.ndarray:
        return self.told(examples)


class Frozen:
    """What the base model, at its pretrained values, says of examples; of a side of a shard it is asked once.

    Args:
        relu: random ReLU features of φ, or none.
    """

    def __init__(self, bench: Bench, relu: int = 0) -> None:
        bench.model.reset()
        self.bench, self.relu = bench, relu
        self.labels = labels_of(bench.label_sets)
        self._seen: dict[tuple[str, int], tuple[Sequence[Example], np.ndarray]] = {}

    def answering(self, told: Told) -> Answering:
        """A model over it that answers by these numbers."""
        return Answering(self.bench.label_sets, told)

    def phi(self, examples: Sequence[Example]) -> np.ndarray:
        """φ of each example, float64 [examples, width + 1]."""
        return self._once("phi", examples, lambda: self.bench.embedding.of(examples, self.relu))

    def log_probabilities(self, examples: Sequence[Example]) -> np.ndarray:
        """Of each label in its set, float64 [examples, labels]; −∞ in the other sets."""
        return self._once("log p", examples, lambda: self._log_probabilities(examples))

    def _log_probabilities(self, examples: Sequence[Example]) -> np.ndarray:
        found = np.full((len(examples), self.labels), -np.inf)
        for name, mine in numbering(self.bench.label_sets).items():
            rows = [row for row, example in enumerate(examples) if example.label_set == name]
            if rows:
                told, _ = self.bench.model.probabilities([examples[row] for row in rows])
                with np.errstate(divide="ignore"):
                    found[rows, mine.start : mine.stop] = np.log(told if told.shape[1] == len(mine) else told[:, mine])
        return found

    def _once(self, what: str, examples: Sequence[Example], made: Callable[[], np.ndarray]) -> np.ndarray:
        key = what, id(examples)
        if key not in self._seen:
            self._seen[key] = examples, made()  # holds the examples, so that no others get their id
        return self._seen[key][1]


@dataclass(frozen=True)
class Prior(Served):
    """The frozen model, with a prior by how often labels are there.

    Attributes:
        direction: name of shared counts, float64 [labels].
        own: counts of this client alone, used instead.
        scale: weight of the prior: 0 is the frozen model; a large one leaves it to break ties.
        smoothing: what is added to each count.
    """

    kind: ClassVar[str] = "prior"
    direction: str
    own: np.ndarray | None = None
    scale: float = 1.0
    smoothing: float = 1.0

    @property
    def shared(self) -> tuple[str, ...]:
        return (self.direction,) if self.own is None else ()

    def passes(self, scales: int) -> int:
        return 1  # the frozen model's

    def measured(self, bench: Bench, shard: Shard, shared: Arrays, scales: Iterable[float], by: Measure[M]) -> Iterator[M]:
        base = Frozen(bench)
        prior = np.log(_fitting(shared[self.direction] if self.own is None else self.own, base.labels) + self.smoothing)

        def told(weight: float, examples: Sequence[Example]) -> np.ndarray:
            return base.log_probabilities(examples) + weight * prior

        for scale in scales:
            yield by.alone(base.answering(partial(told, scale)), shard)


@dataclass(frozen=True)
class ClassMeans(Served):
    """The label whose mean φ is nearest.

    Attributes:
        direction: name of shared sums, float64 [(width + 1) · labels].
    """

    kind: ClassVar[str] = "class_means"
    direction: str

    @property
    def shared(self) -> tuple[str, ...]:
        return (self.direction,)

    def measured(self, bench: Bench, shard: Shard, shared: Arrays, scales: Iterable[float], by: Measure[M]) -> Iterator[M]:
        base = Frozen(bench)
        size = bench.embedding.size()
        sums = _fitting(shared[self.direction], size * base.labels).reshape(size, base.labels)
        counts = sums[-1]
        means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)[:-1].T

        def nearness(examples: Sequence[Example]) -> np.ndarray:
            apart = base.phi(examples)[:, None, :-1] - means[None]
            return np.where(counts > 0, -(apart * apart).sum(2), FAR)

        yield by.alone(base.answering(nearness), shard)


@dataclass(frozen=True)
class Ridge(Served):
    """A ridge regression from φ to one-hot labels.

    Attributes:
        direction: name of the shared sum ΣG, ΣB, float64; None for the client's own statistics alone.
        own: G_t and B_t of this client alone, float64 likewise; None for none.
        settings: λ, κ and mix, as often as there are choices.
        scale: which of them, counted from 0.
        relu: random ReLU features of φ, or none.
    """

    kind: ClassVar[str] = "ridge"
    settings: tuple[Setting, ...]
    direction: str | None = None
    own: np.ndarray | None = None
    scale: float = 0
    relu: int = 0

    @property
    def shared(self) -> tuple[str, ...]:
        return () if self.direction is None else (self.direction,)

    def passes(self, scales: int) -> int:
        return 1 + any(mix for _, _, mix in self.settings)  # φ, and what the frozen model says

    def measured(self, bench: Bench, shard: Shard, shared: Arrays, scales: Iterable[float], by: Measure[M]) -> Iterator[M]:
        base, size = Frozen(bench, self.relu), bench.embedding.size(self.relu)
        length = statistics.triangle(size) + size * base.labels
        total = None if self.direction is None else _fitting(shared[self.direction], length)
        own = None if self.own is None else _fitting(self.own, length)

        @lru_cache(1)
        def weights(ridge: float, kappa: float) -> np.ndarray:
            return solved(*statistics.opened(weighed(total, own, kappa), size), ridge)

        def told(w: np.ndarray, mix: float, examples: Sequence[Example]) -> np.ndarray:
            with deterministic():
                found = matmul(base.phi(examples), w)
            return found + mix * base.log_probabilities(examples) if mix else found

        for ridge, kappa, mix in (self.settings[int(scale)] for scale in scales):
            yield by.alone(base.answering(partial(told, weights(ridge, kappa), mix)), shard)


FAR = -1e9
"""How near a label is that nobody has; no φ is as far from another."""


def weighed(total: np.ndarray | None, own: np.ndarray | None, kappa: float) -> np.ndarray:
    """total + κ · own; one that is not there is 0, and without a total κ is 1."""
    if total is None:
        if own is None:
            raise InputError("a ridge head needs statistics: shared ones, or its own")
        return own
    return total if own is None else total + kappa * own


def solved(gram: np.ndarray, cross: np.ndarray, ridge: float) -> np.ndarray:
    """(G + λI)⁻¹ B in float64, on one thread; [width + 1, labels]."""
    import torch

    with deterministic():
        left = torch.from_numpy(gram) + ridge * torch.eye(len(gram), dtype=torch.float64)
        found: np.ndarray = torch.linalg.solve(left, torch.from_numpy(cross)).numpy()
    return found


def _fitting(sums: np.ndarray, size: int) -> np.ndarray:
    """The same, if it has the size; InputError if not."""
    if sums.shape != (size,):
        raise InputError(f"statistics of shape {sums.shape} do not fit labels and features, which make {size}")
    return sums.astype(np.float64)
