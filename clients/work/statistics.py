"""Rules whose vectors are sums over a client's training examples: sufficient statistics of heads that are solved, not tuned.

    label_counts   Σ y                                          [labels]
    class_sums     B = Σ φ yᵀ, row after row                    [(width + 1) · labels]
    gram           G = Σ φ φᵀ, the upper triangle, and then B   [(width + 1)(width + 2) / 2 + (width + 1) · labels]
    gram-256       the same over 256 random ReLU features

y is 1 at the example's label (``head.one_hot``), φ is that of ``embedding``; its last entry is 1, so the last row of B
counts the labels. One pass over the data, in float64, and no gradient step.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from typing import ClassVar

import numpy as np

from clients.data.dataset import Shard
from clients.exact import digest
from clients.exact.determinism import deterministic, environment
from clients.exact.grid import Grid
from clients.settings import TuningSpec
from clients.work.embedding import matmul
from clients.work.head import labels_of, one_hot
from clients.work.rule import Rule, most_of
from clients.work.site import Site
from clients.work.tuning import RECIPE, Tuned

BITS = 24
MOST_EXAMPLES = 2**20
"""Of a client, where the scenario does not say."""


class Statistics(Rule):
    """A rule without gradient steps, whose vector is a list of sums one behind the other."""

    def derive(self, site: Site, shard: Shard) -> Tuned:
        with deterministic():
            site.model.reset()
            vector = np.concatenate([each.ravel() for each in self.sums(site, shard)])
        return Tuned(vector, digest.of_json([self.name, shard.digest(), *self.facts(site, shard)]), 0, 0, 0.0)

    @abstractmethod
    def sums(self, site: Site, shard: Shard) -> list[np.ndarray]:
        """Those of a shard, float64."""

    @abstractmethod
    def sizes(self, site: Site) -> list[int]:
        """How many numbers each has."""

    def facts(self, site: Site, shard: Shard) -> list[object]:
        """What decides them beside the shard, as JSON values."""
        return [site.model.digest, environment(site.model.device), BITS]

    def grid(self, site: Site) -> Grid:
        """Steps of 2^-24, about as fine as the features are, for as many examples as a client has at most.

        No entry of φ is beyond 1, so a sum over n examples is not beyond n.
        """
        return Grid(BITS, (most_examples(site) << BITS) + 1, most_of(site))

    def bounds(self, site: Site) -> tuple[int, ...]:
        return tuple(itertools.accumulate([0, *self.sizes(site)]))

    def steps(self, spec: TuningSpec) -> int:
        return 0


class LabelCounts(Statistics):
    """How often each label is there. No model is asked."""

    name = "label_counts"

    def sums(self, site: Site, shard: Shard) -> list[np.ndarray]:
        return [one_hot(shard.train, site.manifest.label_sets).sum(0)]

    def sizes(self, site: Site) -> list[int]:
        return [labels_of(site.manifest.label_sets)]

    def facts(self, site: Site, shard: Shard) -> list[object]:
        return []

    def grid(self, site: Site) -> Grid:
        """Whole numbers."""
        return Grid(0, most_examples(site), most_of(site))


class ClassSums(Statistics):
    """The sum of φ over the examples of each label."""

    name: ClassVar[str] = "class_sums"
    relu = 0

    def sums(self, site: Site, shard: Shard) -> list[np.ndarray]:
        return [matmul(site.embedding.of(shard.train, self.relu).T, one_hot(shard.train, site.manifest.label_sets))]

    def sizes(self, site: Site) -> list[int]:
        return [site.embedding.size(self.relu) * labels_of(site.manifest.label_sets)]

    def facts(self, site: Site, shard: Shard) -> list[object]:
        model = site.model
        columns = [example.columns for example in shard.train] if model.shortened(shard.train) else []
        given = [model.spec.model_dump(mode="json", include=RECIPE), columns]
        return [*super().facts(site, shard), *site.embedding.facts(self.relu), *given]


class Gram(ClassSums):
    """The statistics of a ridge regression.

    Args:
        relu: random ReLU features; 0: φ itself.
    """

    name = "gram"

    def __init__(self, relu: int = 0) -> None:
        self.relu = relu

    def sums(self, site: Site, shard: Shard) -> list[np.ndarray]:
        phi = site.embedding.of(shard.train, self.relu)
        gram = matmul(phi.T, phi)
        return [gram[np.triu_indices(len(gram))], matmul(phi.T, one_hot(shard.train, site.manifest.label_sets))]

    def sizes(self, site: Site) -> list[int]:
        size = site.embedding.size(self.relu)
        return [triangle(size), *super().sizes(site)]


def most_examples(site: Site) -> int:
    """Examples that a client has at most."""
    return int(getattr(site.settings.data, "maximum", None) or MOST_EXAMPLES)


def triangle(size: int) -> int:
    """Numbers of the upper triangle of G, of so many rows."""
    return size * (size + 1) // 2


def gram_of(upper: np.ndarray) -> np.ndarray:
    """G, whole, of its upper triangle; float64 [size, size]."""
    size = (math.isqrt(8 * upper.size + 1) - 1) // 2
    gram = np.zeros((size, size))
    gram[np.triu_indices(size)] = upper
    return gram + np.triu(gram, 1).T


def opened(vector: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """G, whole, and B of a ``gram`` vector; float64 [size, size] and [size, labels].

    Args:
        size: of φ.
    """
    upper = triangle(size)
    return gram_of(vector[:upper]), vector[upper:].reshape(size, -1).astype(np.float64)
