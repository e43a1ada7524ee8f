"""What a client is served: one class per way to build a model from what the server keeps. Each knows the arrays it reads.

    Masked     θ0 + start + scale · (mask ⊙ factors ⊙ direction); without a direction the base model
    Own        θ0 + a vector that only this client has
    Linear     the tangent space at θ0 + around: f(x; θ0 + around) + J(x; θ0 + around) · (start + scale · direction)
    Ensemble   several models θ0 + direction, which answer with the mean of their probabilities, or vote
    Mix        θ0 + Σ weight · direction
    Head, ...  heads on the frozen base model (``heads``)

*Shared* arrays are named: the transport sends them once for many clients. What only this client has is in ``arrays``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from clients.data.dataset import Shard
from clients.exact import bits
from clients.work.bench import Arrays, Bench, M, Measure, Moved
from clients.work.bench import Served as Served  # as strategies name it
from clients.work.heads import ClassMeans as ClassMeans
from clients.work.heads import Head as Head
from clients.work.heads import Prior as Prior
from clients.work.heads import Ridge as Ridge


@dataclass(frozen=True)
class Masked(Moved):
    """θ0 + start + scale · (mask ⊙ factors ⊙ direction).

    Attributes:
        direction, start: names of shared arrays, fp32 [d]; None for none.
        mask: packed bits, uint8; None for all ones.
        factors: fp32, one per tunable tensor.
    """

    kind: ClassVar[str] = "masked"
    direction: str | None = None
    scale: float = 1.0
    mask: np.ndarray | None = None
    factors: np.ndarray | None = None
    start: str | None = None

    @property
    def shared(self) -> tuple[str, ...]:
        return tuple(name for name in (self.direction, self.start) if name is not None)

    def thetas(self, bench: Bench, shared: Arrays, scales: Iterable[float]) -> Iterator[np.ndarray]:
        theta = _moved(bench.theta0, self.start, shared)
        direction = None if self.direction is None else shared[self.direction]
        if direction is not None and self.factors is not None:
            direction = direction * np.repeat(self.factors, np.diff(bench.model.layout.bounds))
        for scale in scales:
            yield theta if direction is None else bits.add_masked(theta, direction, scale, self.mask)


BASE = Masked()
"""The base model."""


@dataclass(frozen=True)
class Own(Moved):
    """θ0 + vector; ``vector`` fp32 [d] is this client's alone."""

    kind: ClassVar[str] = "own"
    vector: np.ndarray

    @property
    def shared(self) -> tuple[str, ...]:
        return ()

    def thetas(self, bench: Bench, shared: Arrays, scales: Iterable[float]) -> Iterator[np.ndarray]:
        for scale in scales:
            yield bits.add_masked(bench.theta0, self.vector, scale)


@dataclass(frozen=True)
class Linear(Served):
    """The model is linear around θ0 + around, and start + scale · direction is the displacement in its tangent space."""

    kind: ClassVar[str] = "linear"
    said: ClassVar[str] = "a model in its tangent space"
    direction: str
    around: str
    scale: float = 1.0
    start: str | None = None

    @property
    def shared(self) -> tuple[str, ...]:
        return tuple(name for name in (self.direction, self.around, self.start) if name is not None)

    def measured(self, bench: Bench, shard: Shard, shared: Arrays, scales: Iterable[float], by: Measure[M]) -> Iterator[M]:
        import torch

        model, at = bench.model, _moved(bench.theta0, self.around, shared)
        begin = _moved(np.zeros_like(at), self.start, shared)
        for scale in scales:
            model.assign(at)
            displacement = bits.add_masked(begin, shared[self.direction], scale)
            with model.linear(torch.from_numpy(displacement).to(model.device)):
                yield by.alone(model, shard)


@dataclass(frozen=True)
class Ensemble(Served):
    """The models θ0 + each of ``names`` answer together, with the mean of their probabilities or by ``vote``."""

    kind: ClassVar[str] = "ensemble"
    said: ClassVar[str] = "several models that answer together"
    names: tuple[str, ...]
    vote: bool = False

    @property
    def shared(self) -> tuple[str, ...]:
        return self.names

    @property
    def models(self) -> int:
        return len(self.names)

    @property
    def vectors(self) -> int:
        return len(self.names) + 1

    def measured(self, bench: Bench, shard: Shard, shared: Arrays, scales: Iterable[float], by: Measure[M]) -> Iterator[M]:
        thetas = (bits.add_masked(bench.theta0, shared[name], 1.0) for name in self.names)
        yield by.together(bench.model, shard, thetas, self.vote)


@dataclass(frozen=True)
class Mix(Moved):
    """θ0 + Σ weight · direction, ``weights`` being (name, weight) pairs."""

    kind: ClassVar[str] = "mix"
    weights: tuple[tuple[str, float], ...]

    @property
    def shared(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.weights)

    @property
    def vectors(self) -> int:
        return len(self.weights) + 1

    def thetas(self, bench: Bench, shared: Arrays, scales: Iterable[float]) -> Iterator[np.ndarray]:
        direction = bits.weighted_sum([shared[name] for name in self.shared], [weight for _, weight in self.weights])
        for scale in scales:
            yield bits.add_masked(bench.theta0, direction, scale)


MODELS: tuple[type[Served], ...] = (Masked, Own, Linear, Ensemble, Mix)
HEADS: tuple[type[Served], ...] = (Head, Prior, ClassMeans, Ridge)
KINDS: dict[str, type[Served]] = {kind.kind: kind for kind in MODELS + HEADS}


def served_of(facts: Mapping[str, Any], arrays: Arrays) -> Served:
    """What ``facts`` and ``arrays`` of a served model were made from."""
    values = {key: _tuples(value) for key, value in facts.items() if key != "kind"}
    return KINDS[facts["kind"]](**values, **arrays)


def _moved(theta: np.ndarray, name: str | None, shared: Arrays) -> np.ndarray:
    return theta if name is None else bits.add_masked(theta, shared[name], 1.0)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
