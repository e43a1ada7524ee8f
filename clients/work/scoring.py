"""How well a served model, or several together, do on a client's data: the mean over its examples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from clients.data.dataset import Shard
from clients.errors import InputError
from clients.exact.determinism import deterministic
from clients.work.head import HeadModel

if TYPE_CHECKING:
    from clients.models.flat import BaseModel


Part = Literal["evaluated", "train"]
"""Of a shard: what is evaluated, or what is trained on; the same where there is no validation part."""


def score(model: BaseModel | HeadModel, shard: Shard, part: Part = "evaluated") -> float:
    """Score of the model as it stands on a part of a shard, between 0 and 1."""
    if not (examples := getattr(shard, part)):  # nothing of it has left: it tells no model from another
        return 0.0
    with deterministic():
        values = model.values(examples)
    return math.fsum(values) / len(values)


def score_together(
    model: BaseModel, shard: Shard, thetas: Iterable[np.ndarray], vote: bool = False, part: Part = "evaluated"
) -> float:
    """Score of several models, each fp32 [d], that answer with the mean of their probabilities, or vote.

    The label with most votes wins; in both ways the lowest label number of equals.
    """
    total: np.ndarray | float = 0.0
    count = 0
    if not getattr(shard, part):
        return 0.0
    with deterministic():
        for theta in thetas:
            model.assign(theta)
            probabilities, right = model.probabilities(getattr(shard, part))
            total, count = total + (votes(probabilities) if vote else probabilities), count + 1
    mean = np.asarray(total) / count
    values = mean[:, 0] if mean.shape[1] == 1 else (mean.argmax(1) == right)
    return math.fsum(values) / len(values)


@dataclass(frozen=True)
class Scoring:
    """The score on a part of a client's data, as a measure of what is served."""

    part: Part = "evaluated"

    def alone(self, model: BaseModel | HeadModel, shard: Shard) -> float:
        return score(model, shard, self.part)

    def together(self, model: BaseModel, shard: Shard, thetas: Iterable[np.ndarray], vote: bool) -> float:
        return score_together(model, shard, thetas, vote, self.part)


def votes(probabilities: np.ndarray) -> np.ndarray:
    """1 for each example's most probable label (the lowest number of equals), else 0; float64 [examples, labels].

    Raises:
        InputError: answers are free text.
    """
    labels = probabilities.shape[1]
    if labels == 1:
        raise InputError("a vote needs labels to vote for; these answers are free text")
    return np.eye(labels)[probabilities.argmax(1)]
