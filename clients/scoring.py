"""How well a served model does on a client's data.

Answer probability (TOFU): mean over examples of e^−ℓ, ℓ the mean cross-entropy over answer tokens, EOS included.
Accuracy: share of examples whose label text has the largest summed log-probability among all labels (first of ties).
"""

import math

import numpy as np

from clients.base_model import LanguageModel
from clients.data.dataset import Example, Shard
from clients.determinism import deterministic


def score(model: LanguageModel, shard: Shard, labels: tuple[str, ...]) -> float:
    """Score of the model's current parameters on a shard's evaluated part, between 0 and 1."""
    with deterministic():
        return _accuracy(model, shard.evaluated, labels) if labels else _answer_probability(model, shard.evaluated)


def _answer_probability(model: LanguageModel, examples: tuple[Example, ...]) -> float:
    sums, counts = model.answer_losses(model.encode(examples))
    return math.fsum(np.exp(-sums / counts)) / len(examples)


def _accuracy(model: LanguageModel, examples: tuple[Example, ...], labels: tuple[str, ...]) -> float:
    asked = tuple(Example(example.prompt, label) for example in examples for label in labels)
    sums, _ = model.answer_losses(model.encode(asked))
    chosen = sums.reshape(len(examples), len(labels)).argmin(1)
    return sum(labels[c] == example.answer for c, example in zip(chosen, examples, strict=True)) / len(examples)
