"""How well a served model, or several together, do on a client's data: the mean over its examples."""

import math
from collections.abc import Iterable

import numpy as np

from clients.data.dataset import Shard
from clients.determinism import deterministic
from clients.models import BaseModel


def score(model: BaseModel, shard: Shard) -> float:
    """Score of the model's current parameters on a shard's evaluated part, between 0 and 1."""
    with deterministic():
        values = model.values(shard.evaluated)
    return math.fsum(values) / len(values)


def score_together(model: BaseModel, shard: Shard, thetas: Iterable[np.ndarray]) -> float:
    """Score of several models, each fp32 [d], that answer with the mean of their probabilities."""
    total: np.ndarray | float = 0.0
    count = 0
    with deterministic():
        for theta in thetas:
            model.assign(theta)
            probabilities, right = model.probabilities(shard.evaluated)
            total, count = total + probabilities, count + 1
    mean = np.asarray(total) / count
    values = mean[:, 0] if mean.shape[1] == 1 else (mean.argmax(1) == right)
    return math.fsum(values) / len(values)
