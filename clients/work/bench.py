"""What it means to serve a client a model: how one is measured, where it is built, and what every kind tells of itself.

The kinds stand in ``served`` (models whose parameters are moved) and ``heads`` (heads on the frozen model).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

from clients.data.dataset import LabelSet, Shard
from clients.work.embedding import Embedding
from clients.work.head import Labelling

if TYPE_CHECKING:
    from clients.models.flat import BaseModel

Arrays = Mapping[str, np.ndarray]
M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)


class Measure(Protocol[M_co]):
    """What is measured of a model: of one, as it stands, and of several together."""

    def alone(self, model: BaseModel | Labelling, shard: Shard) -> M_co: ...

    def together(self, model: BaseModel, shard: Shard, thetas: Iterable[np.ndarray], vote: bool) -> M_co: ...


@dataclass(frozen=True)
class Bench:
    """Where served models are built: the open model, its pretrained values, the labels of the data, and φ.

    Attributes:
        theta0: fp32 [d].
    """

    model: BaseModel
    theta0: np.ndarray
    label_sets: Mapping[str, LabelSet]
    embedding: Embedding


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

    def passes(self, scales: int) -> int:
        """Passes over a client's data that measuring it at so many scales takes."""
        return scales * self.models

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
