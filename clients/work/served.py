"""What a client is served: one class per way to build a model from what the server keeps. Each knows the arrays it reads.

    Masked     θ0 + start + scale · (mask ⊙ factors ⊙ direction); without a direction the base model
    Own        θ0 + a vector that only this client has
    Linear     the tangent space at θ0 + around: f(x; θ0 + around) + J(x; θ0 + around) · (start + scale · direction)
    Ensemble   several models θ0 + direction, which answer with the mean of their probabilities, or vote
    Mix        θ0 + Σ weight · direction
    Head       softmax of a linear head on the features of the base model

*Shared* arrays are named: the transport sends them once for many clients. What only this client has is in ``arrays``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

from clients.data.dataset import LabelSet, Shard
from clients.errors import InputError
from clients.exact import bits
from clients.work.head import HeadModel

if TYPE_CHECKING:
    from clients.models.flat import BaseModel


Arrays = Mapping[str, np.ndarray]
M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)


class Measure(Protocol[M_co]):
    """What is measured of a model: of one, as it stands, and of several together."""

    def alone(self, model: BaseModel | HeadModel, shard: Shard) -> M_co: ...

    def together(self, model: BaseModel, shard: Shard, thetas: Iterable[np.ndarray], vote: bool) -> M_co: ...


@dataclass(frozen=True)
class Bench:
    """Where served models are built: the open model, its pretrained values, and the labels of the data.

    Attributes:
        theta0: fp32 [d].
    """

    model: BaseModel
    theta0: np.ndarray
    label_sets: Mapping[str, LabelSet]


@dataclass(frozen=True)
class Served(ABC):
    """One client's model. Every field is an array of this client alone, or a JSON value; names are of shared arrays."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def shared(self) -> tuple[str, ...]:
        """Names of the shared arrays it reads."""

    @property
    def models(self) -> int:
        """How many models answer for the client."""
        return 1

    @property
    def vectors(self) -> int:
        """Vectors of d entries in memory while it is built, beside θ0 and the result."""
        return len(self.shared)

    @property
    def scales(self) -> tuple[float, ...]:
        """The scale it is served at, for kinds that can be measured at others."""
        return (getattr(self, "scale", 1.0),)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What only this client has."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), np.ndarray)}

    @property
    def facts(self) -> dict[str, Any]:
        """Everything else, as JSON values; fields at their defaults are left out."""
        told: dict[str, Any] = {"kind": self.kind}
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, np.ndarray) and value != each.default:
                told[each.name] = value
        return told

    @abstractmethod
    def measured(self, bench: Bench, shard: Shard, shared: Arrays, scales: Iterable[float], by: Measure[M]) -> Iterator[M]:
        """What is measured of the model, at each scale."""


@dataclass(frozen=True)
class Masked(Served):
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

    def measured(self, bench: Bench, shard: Shard, shared: Arrays, scales: Iterable[float], by: Measure[M]) -> Iterator[M]:
        theta = _moved(bench.theta0, self.start, shared)
        direction = None if self.direction is None else shared[self.direction]
        if direction is not None and self.factors is not None:
            direction = direction * np.repeat(self.factors, np.diff(bench.model.layout.bounds))
        for scale in scales:
            bench.model.assign(theta if direction is None else bits.add_masked(theta, direction, scale, self.mask))
            yield by.alone(bench.model, shard)


BASE = Masked()
"""The base model."""


@dataclass(frozen=True)
class Own(Served):
    """θ0 + vector; ``vector`` fp32 [d] is this client's alone."""

    kind: ClassVar[str] = "own"
    vector: np.ndarray

    @property
    def shared(self) -> tuple[str, ...]:
        return ()

    def measured(self, bench: Bench, shard: Shard, shared: Arrays, scales: Iterable[float], by: Measure[M]) -> Iterator[M]:
        for scale in scales:
            bench.model.assign(bits.add_masked(bench.theta0, self.vector, scale))
            yield by.alone(bench.model, shard)


@dataclass(frozen=True)
class Linear(Served):
    """The model is linear around θ0 + around, and start + scale · direction is the displacement in its tangent space."""

    kind: ClassVar[str] = "linear"
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
class Mix(Served):
    """θ0 + Σ weight · direction, ``weights`` being (name, weight) pairs."""

    kind: ClassVar[str] = "mix"
    weights: tuple[tuple[str, float], ...]

    @property
    def shared(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.weights)

    @property
    def vectors(self) -> int:
        return len(self.weights) + 1

    def measured(self, bench: Bench, shard: Shard, shared: Arrays, scales: Iterable[float], by: Measure[M]) -> Iterator[M]:
        direction = bits.weighted_sum([shared[name] for name in self.shared], [weight for _, weight in self.weights])
        for scale in scales:
            bench.model.assign(bits.add_masked(bench.theta0, direction, scale))
            yield by.alone(bench.model, shard)


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


KINDS: dict[str, type[Served]] = {kind.kind: kind for kind in (Masked, Own, Linear, Ensemble, Mix, Head)}


def served_of(facts: Mapping[str, Any], arrays: Arrays) -> Served:
    """What ``facts`` and ``arrays`` of a served model were made from."""
    values = {key: _tuples(value) for key, value in facts.items() if key != "kind"}
    return KINDS[facts["kind"]](**values, **arrays)


def _moved(theta: np.ndarray, name: str | None, shared: Arrays) -> np.ndarray:
    return theta if name is None else bits.add_masked(theta, shared[name], 1.0)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
