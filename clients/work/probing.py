"""What a served model, or several together, say of every single example of a client: what attacks on membership read.

A part (``train``, and ``reported``, the side that scores are of) is probed as fp64 [2, examples]: row 0 holds the
probability of the true answer, row 1 what the example scores: 1 where the right label has the highest probability, else 0;
where answers are free text, the answer probability itself. NaN where the model's numbers are not finite.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clients.data.shards import Shard, Side
from clients.exact.determinism import deterministic
from clients.exact.finite import hits
from clients.work.head import Labelling
from clients.work.scoring import votes

if TYPE_CHECKING:
    from clients.models.flat import BaseModel

PARTS = ("train", "reported")


def probe(model: BaseModel | Labelling, shard: Shard, reported: Side = "test") -> dict[str, np.ndarray]:
    """Each part of a shard under the model's current parameters."""
    return _probed(model, shard, [None], reported)


def probe_together(
    model: BaseModel, shard: Shard, thetas: Iterable[np.ndarray], vote: bool = False, reported: Side = "test"
) -> dict[str, np.ndarray]:
    """Each part of a shard under several models, each fp32 [d], that answer with the mean of their probabilities, or vote:
    the share of votes then stands in the place of a probability."""
    return _probed(model, shard, thetas, reported, vote)


@dataclass(frozen=True)
class Probing:
    """Both parts of a client's data, as a measure of what is served."""

    reported: Side = "test"

    def alone(self, model: BaseModel | Labelling, shard: Shard) -> dict[str, np.ndarray]:
        return probe(model, shard, self.reported)

    def together(self, model: BaseModel, shard: Shard, thetas: Iterable[np.ndarray], vote: bool) -> dict[str, np.ndarray]:
        return probe_together(model, shard, thetas, vote, self.reported)


def _probed(
    model: BaseModel | Labelling,
    shard: Shard,
    thetas: Iterable[np.ndarray | None],
    reported: Side,
    vote: bool = False,
) -> dict[str, np.ndarray]:
    examples = dict(zip(PARTS, (shard.train, shard.side(reported)), strict=True))
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {part: [] for part, some in examples.items() if some}
    with deterministic():
        for theta in thetas:
            if theta is not None and not isinstance(model, Labelling):
                model.assign(theta)
            for part, answers in found.items():
                probabilities, right = model.probabilities(examples[part])
                answers.append((votes(probabilities) if vote else probabilities, right))
    probed = {part: np.empty((2, 0)) for part in PARTS}
    for part, answers in found.items():
        mean = np.mean([probabilities for probabilities, _ in answers], axis=0)
        probed[part] = outcomes(mean, answers[0][1])
    return probed


def outcomes(probabilities: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Both rows of a part.

    Args:
        probabilities: of every label, float64 [examples, labels]; a single column is the answer probability of free text.
        right: the true label's column, int64 [examples].
    """
    confidence = probabilities[np.arange(len(right)), right]
    scored = confidence if probabilities.shape[1] == 1 else hits(probabilities, right)
    return np.stack([confidence, scored])
