"""φ: what closed-form heads are fitted on. It is made of the frozen base model and public data, so it knows no member.

    φ(x) = [unit(f(x) − c), 1]                   f: what the base model's head sees of x, without its answer
    φ'(x) = [unit(max(R · φ(x), 0)), 1]          R: standard normal, drawn from the run's seed

c is the mean of f over the public examples, 0 where there are none. ``unit`` divides by the norm, and leaves 0 as it is, so
every entry lies between −1 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from clients.data.dataset import Example
from clients.data.manifest import Manifest
from clients.exact import digest, finite
from clients.exact.determinism import deterministic

if TYPE_CHECKING:
    from clients.models.flat import BaseModel

MOST_PUBLIC = 1000
"""Public examples that the mean is of, at most: evenly spaced among all."""


class Embedding:
    """φ over one base model, which has to stand at its pretrained values.

    Args:
        seed: of the run.
    """

    def __init__(self, model: BaseModel, manifest: Manifest, seed: int) -> None:
        self.model, self.manifest, self.seed = model, manifest, seed
        self._projections: dict[int, np.ndarray] = {}

    @cached_property
    def centre(self) -> np.ndarray:
        """c, float64 [width]; NotFiniteError where the public examples have none."""
        public = self.manifest.public
        some = public[:: -(-len(public) // MOST_PUBLIC)] if public else [_made_up(self.manifest)]
        with deterministic():
            mean = self.model.features(without_answers(self.model, some)).astype(np.float64)
        finite.check(mean, "the base model's features of the public examples")
        return mean if public else np.zeros_like(mean)

    def size(self, relu: int = 0) -> int:
        """Numbers in φ(x), or with ``relu`` random features in φ'(x)."""
        return (relu or self.centre.size) + 1

    def of(self, examples: Sequence[Example], relu: int = 0) -> np.ndarray:
        """φ of each example, or φ' of so many random features; float64 [examples, ``size(relu)``]."""
        if not examples:
            return np.empty((0, self.size(relu)))
        with deterministic():
            rows = self.model.embeddings(without_answers(self.model, examples)).astype(np.float64)
            found = _with_one(rows - self.centre)
            return _with_one(np.maximum(matmul(found, self._projection(relu)), 0)) if relu else found

    def facts(self, relu: int) -> list[object]:
        """What decides it beside the base model, as JSON values."""
        return [digest.of_array(self.centre), *([self.seed, relu] if relu else [])]

    def _projection(self, relu: int) -> np.ndarray:
        """R, transposed: float64 [``size()``, relu]."""
        if relu not in self._projections:
            drawn = np.random.Generator(np.random.PCG64(int(digest.of_json(["relu", self.seed])[:15], 16)))
            self._projections[relu] = drawn.standard_normal((relu, self.size())).T
        return self._projections[relu]


def without_answers(model: BaseModel, examples: Sequence[Example]) -> Sequence[Example]:
    """The same, as they are asked: features of a language model read the answer, where there is one.

    A model with a head of its own knows labels alone, and its features read none.
    """
    from clients.models.classifier import HeadedModel

    return examples if isinstance(model, HeadedModel) else [replace(example, answer="") for example in examples]


def matmul(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A product of float64 matrices by torch, whose threads ``deterministic`` fixes; numpy's BLAS has its own."""
    import torch

    return (torch.from_numpy(left) @ torch.from_numpy(np.ascontiguousarray(right))).numpy()


def _with_one(rows: np.ndarray) -> np.ndarray:
    """Rows at length 1, with a 1 behind each."""
    norms = np.sqrt((rows * rows).sum(1, keepdims=True))
    return np.column_stack([np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0), np.ones(len(rows))])


def _made_up(manifest: Manifest) -> Example:
    """An example of the data's kind that is nobody's, to see how wide features are."""
    name, labels = next(iter(manifest.label_sets.items()))
    if not manifest.pictures:
        return Example("?", labels.labels[0], label_set=name)
    from PIL import Image

    stored = BytesIO()
    Image.new("RGB", (8, 8)).save(stored, "PNG")
    return Example("", labels.labels[0], stored.getvalue(), name)
