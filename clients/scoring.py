"""How well a served model does on a client's data: the mean of what its model says of each example."""

import math

from clients.data.dataset import Shard
from clients.determinism import deterministic
from clients.models import BaseModel


def score(model: BaseModel, shard: Shard) -> float:
    """Score of the model's current parameters on a shard's evaluated part, between 0 and 1."""
    with deterministic():
        values = model.values(shard.evaluated)
    return math.fsum(values) / len(values)
