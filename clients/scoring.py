"""How well a served model, or several together, do on a client's data: the mean over its examples."""

import math
from collections.abc import Iterable
from contextlib import nullcontext

import numpy as np
import torch

from clients.data.dataset import Shard
from clients.determinism import deterministic
from clients.errors import InputError
from clients.models import BaseModel


def score(model: BaseModel, shard: Shard, displacement: np.ndarray | None = None) -> float:
    """Score of the model's current parameters on a shard's evaluated part, between 0 and 1.

    Args:
        displacement: fp32 [d]; the model is then linear around its current parameters, and displaced by this.
    """
    linear = nullcontext() if displacement is None else model.linear(torch.from_numpy(displacement).to(model.device))
    with deterministic(), linear:
        values = model.values(shard.evaluated)
    return math.fsum(values) / len(values)


def score_together(model: BaseModel, shard: Shard, thetas: Iterable[np.ndarray], vote: bool = False) -> float:
    """Score of several models, each fp32 [d], that answer with the mean of their probabilities, or vote.

    A model votes for its most probable label, the label with most votes wins; in both the lowest label number of equals.

    Raises:
        InputError: a vote where answers are free text.
    """
    total: np.ndarray | float = 0.0
    count = 0
    with deterministic():
        for theta in thetas:
            model.assign(theta)
            probabilities, right = model.probabilities(shard.evaluated)
            if vote:
                if probabilities.shape[1] == 1:
                    raise InputError("a vote needs labels to vote for; these answers are free text")
                probabilities = np.eye(probabilities.shape[1])[probabilities.argmax(1)]
            total, count = total + probabilities, count + 1
    mean = np.asarray(total) / count
    values = mean[:, 0] if mean.shape[1] == 1 else (mean.argmax(1) == right)
    return math.fsum(values) / len(values)
