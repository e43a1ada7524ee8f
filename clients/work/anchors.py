"""Anchors: points in feature space that are fixed by public data alone, and the one that a client's data are nearest to.

    a_1 … a_K = k-means centres of φ(x) over the public examples x        φ: features under θ0, as ``BaseModel.features``
    number of a client = the k that is nearest (Euclid) to most of its training examples; the lowest of equals

So a client's number is a function of its own training data, θ0 and the public data: nobody else's coming or going changes
it. Features are taken one example at a time, on one thread: an example's bits depend on no other example beside it. Of more
than ``MOST_PUBLIC`` different public examples so many are taken, evenly spaced in their order. k-means is scikit-learn's
(greedy k-means++, one start), seeded, on one thread, in float64. A number is recorded when its client joins; leaving takes
the client out of the cluster that was recorded, so anchors need not be made again for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from clients.data.dataset import Example
from clients.errors import InputError
from clients.exact import finite
from clients.exact.determinism import deterministic

if TYPE_CHECKING:
    from clients.models.flat import BaseModel


MOST_PUBLIC = 2000


def sample(public: Iterable[Example]) -> list[Example]:
    """The public examples that anchors are made of: all different ones, or ``MOST_PUBLIC`` of them."""
    different = list(dict.fromkeys(public))
    if len(different) <= MOST_PUBLIC:
        return different
    return [different[i * len(different) // MOST_PUBLIC] for i in range(MOST_PUBLIC)]


def check(public: Iterable[Example], count: int) -> None:
    """Raise InputError if there are fewer different public examples than anchors."""
    if (found := len(sample(public))) < count:
        raise InputError(
            f"by: anchor makes {count} anchors of public examples, and the data have {found} different ones; set "
            "data.public_clients where the data family has it, or take fewer clusters, or by: hash"
        )


def anchors(model: BaseModel, public: Iterable[Example], count: int, seed: int) -> np.ndarray:
    """The anchors, float64 [count, width]; the model is at its pretrained values.

    Raises:
        InputError: fewer different public examples than ``count``.
        NotFiniteError: their features are not.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    public = sample(public)
    check(public, count)
    rows = features(model, public)
    finite.check(rows, "public examples: their features")
    with threadpool_limits(1):
        fitted = KMeans(count, init="k-means++", n_init=1, random_state=seed).fit(rows)
    return np.asarray(fitted.cluster_centers_)


def number(model: BaseModel, examples: Sequence[Example], points: np.ndarray) -> int:
    """The anchor, from 0, that most of the examples are nearest to; the lowest number of equals.

    Raises:
        NotFiniteError: their features are not.
    """
    rows = features(model, examples)
    finite.check(rows, "the features of its examples")
    nearest = [int(((points - row) ** 2).sum(1).argmin()) for row in rows]
    return int(np.bincount(nearest, minlength=len(points)).argmax())


def features(model: BaseModel, examples: Sequence[Example]) -> np.ndarray:
    """What the head sees of each example, float64 [examples, width]."""
    with deterministic():
        return np.array([model.features([example]) for example in examples], dtype=np.float64)
