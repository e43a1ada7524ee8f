"""A linear head on the features of the base model, which answers in the place of the model's own head.

    p(label | x) = softmax(W · [φ(x), 1])        φ: features of the base model, of x without its answer

Labels are numbered over all label sets of the data, in the order of the sets' names; an example is asked among those of its
own set. Answers that are free text have no labels, so no head either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from clients.data.dataset import Example, LabelSet
from clients.errors import InputError
from clients.exact.finite import hits
from clients.work.embedding import without_answers

if TYPE_CHECKING:
    from clients.models.flat import BaseModel


def features(model: BaseModel, examples: Sequence[Example]) -> np.ndarray:
    """[φ(x), 1] of each example, one at a time so that its bits depend on no other; float64 [examples, width + 1].

    Answers are taken away.
    """
    rows = [model.features([example]) for example in without_answers(model, examples)]
    return np.column_stack([np.array(rows, dtype=np.float64), np.ones(len(rows))])


def numbering(label_sets: Mapping[str, LabelSet]) -> dict[str, range]:
    """The numbers of each set's labels.

    Raises:
        InputError: answers are free text.
    """
    if not label_sets:
        raise InputError("a head needs answers that are labels, and these are free text")
    found, start = {}, 0
    for name in sorted(label_sets):
        found[name] = range(start, start + len(label_sets[name].labels))
        start = found[name].stop
    return found


def labels_of(label_sets: Mapping[str, LabelSet]) -> int:
    """Labels of all sets together; InputError as ``numbering``."""
    return max(each.stop for each in numbering(label_sets).values())


def one_hot(examples: Sequence[Example], label_sets: Mapping[str, LabelSet]) -> np.ndarray:
    """1 in the column of each example's label; float64 [examples, labels]."""
    numbers = numbering(label_sets)
    rows = np.zeros((len(examples), labels_of(label_sets)))
    for row, example in zip(rows, examples, strict=True):
        row[numbers[example.label_set].start + label_sets[example.label_set].labels.index(example.answer)] = 1
    return rows


class Labelling(ABC):
    """A model that gives each label of an example's set a number; the largest is its answer. What scoring and probing ask.

    Attributes:
        numbers: ``numbering`` of the label sets.
    """

    def __init__(self, label_sets: Mapping[str, LabelSet]) -> None:
        self.label_sets, self.numbers = label_sets, numbering(label_sets)

    @abstractmethod
    def logits(self, examples: Sequence[Example]) -> np.ndarray:
        """A number for each label, float64 [examples, labels]; those of other sets are not looked at."""

    def values(self, examples: Sequence[Example]) -> list[float]:
        """1 where the right label has the highest probability, else 0; of equals the lowest number; NaN of none."""
        return hits(*self.probabilities(examples)).tolist()

    def probabilities(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """As ``BaseModel.probabilities``: a softmax; labels of other sets have probability 0.

        Raises:
            InputError: what the model was made of does not fit labels and features.
        """
        logits = self.logits(examples)
        right = np.array([int(row.argmax()) for row in one_hot(examples, self.label_sets)])
        for row, example in zip(logits, examples, strict=True):
            mine = self.numbers[example.label_set]
            row[: mine.start] = row[mine.stop :] = -np.inf
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True), right


class HeadModel(Labelling):
    """The base model under a linear head.

    Args:
        weights: W, flattened fp32 [labels · (width + 1)], or [labels] for biases alone.
    """

    def __init__(self, model: BaseModel, weights: np.ndarray, label_sets: Mapping[str, LabelSet]) -> None:
        super().__init__(label_sets)
        self.model, self.weights = model, weights

    def logits(self, examples: Sequence[Example]) -> np.ndarray:
        labels = labels_of(self.label_sets)
        rows = np.ones((len(examples), 1)) if self.weights.size == labels else features(self.model, examples)
        if self.weights.shape != (labels * rows.shape[1],):
            raise InputError(f"a head of shape {self.weights.shape} does not fit {labels} labels × {rows.shape[1]} features")
        return np.einsum("ij,kj->ik", rows, self.weights.reshape(labels, -1).astype(np.float64))  # no BLAS: fixed order
