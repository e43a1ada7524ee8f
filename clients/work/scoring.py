"""How well a served model, or several together, do on one side of a client's data: the mean over its examples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from clients.data.shards import Shard, Side, Sides
from clients.errors import InputError
from clients.exact.determinism import deterministic
from clients.exact.finite import hits
from clients.work.head import Labelling

if TYPE_CHECKING:
    from clients.models.flat import BaseModel

Part = Literal["reported", "chosen_on", "train"]
"""What a score is of: see ``Sides``."""


def side_of(sides: Sides, part: Part) -> Side:
    """The side of shards that a part is."""
    return "train" if part == "train" else getattr(sides, part)


def score(model: BaseModel | Labelling, shard: Shard, side: Side = "train") -> float | None:
    """Score of the model as it stands on a side of a shard, between 0 and 1; NaN where its numbers are not finite, and None
    where there are no examples."""
    if not (examples := shard.side(side)):
        return None
    with deterministic():
        values = model.values(examples)
    return math.fsum(values) / len(values)


def score_together(
    model: BaseModel, shard: Shard, thetas: Iterable[np.ndarray], vote: bool = False, side: Side = "train"
) -> float | None:
    """Score of several models, each fp32 [d], that answer with the mean of their probabilities, or vote.

    The label with most votes wins; in both ways the lowest label number of equals.
    """
    total: np.ndarray | float = 0.0
    count = 0
    if not (examples := shard.side(side)):
        return None
    with deterministic():
        for theta in thetas:
            model.assign(theta)
            probabilities, right = model.probabilities(examples)
            total, count = total + (votes(probabilities) if vote else probabilities), count + 1
    mean = np.asarray(total) / count
    values = mean[:, 0] if mean.shape[1] == 1 else hits(mean, right)
    return math.fsum(values) / len(values)


@dataclass(frozen=True)
class Scoring:
    """The score on a side of a client's data, as a measure of what is served."""

    side: Side = "train"

    def alone(self, model: BaseModel | Labelling, shard: Shard) -> float | None:
        return score(model, shard, self.side)

    def together(self, model: BaseModel, shard: Shard, thetas: Iterable[np.ndarray], vote: bool) -> float | None:
        return score_together(model, shard, thetas, vote, self.side)


def votes(probabilities: np.ndarray) -> np.ndarray:
    """1 for each example's most probable label (the lowest number of equals), else 0; float64 [examples, labels].

    NaN for all labels where none is the most probable, as where their numbers are not finite.

    Raises:
        InputError: answers are free text.
    """
    labels = probabilities.shape[1]
    if labels == 1:
        raise InputError("a vote needs labels to vote for; these answers are free text")
    return np.where(np.isfinite(probabilities.max(1, keepdims=True)), np.eye(labels)[probabilities.argmax(1)], np.nan)
