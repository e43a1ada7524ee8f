"""What models with a classification head share, whatever is below it: cross-entropy, accuracy and probabilities."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from clients.data.dataset import Example
from clients.exact.finite import hits
from clients.models.flat import BaseModel

HEAD_SEED = 0
HEAD_SCALE = 0.02  # standard deviation of a fresh head, as transformers draws it


def fresh_head(width: int, labels: int, bias: bool) -> nn.Linear:
    """A new head, the same whenever it is drawn; its bias is 0."""
    head = nn.Linear(width, labels, bias)
    head.weight.data.normal_(0.0, HEAD_SCALE, generator=torch.Generator().manual_seed(HEAD_SEED))
    if bias:
        head.bias.data.zero_()
    return head


class HeadedModel(BaseModel):
    """A base model that gives logits; its encoded examples have ``label``, a row of the head."""

    @abstractmethod
    def logits(self, batch: list[Any]) -> torch.Tensor:
        """fp32 [batch, rows of the head]; −inf for rows that an example is not told apart from."""

    def loss(self, batch: list[Any]) -> torch.Tensor:
        return cross_entropy(self.logits(batch), self._labels(batch))

    def weight(self, batch: list[Any]) -> int:
        return len(batch)

    @torch.no_grad()
    def values(self, examples: Sequence[Example]) -> list[float]:
        """1 where the right label has the largest logit, else 0; NaN where that is not finite."""
        right: list[float] = []
        for batch in self._batches(examples):
            with self.computing():
                logits = self.logits(batch).cpu().numpy()
            right += hits(logits, np.array([one.label for one in batch])).tolist()
        return right

    @torch.no_grad()
    def probabilities(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Softmax over the head's rows, 0 where a logit is −inf; NaN where the largest is not finite."""
        found, right = [], []
        for batch in self._batches(examples):
            with self.computing():
                found.append(self.logits(batch).double().softmax(1).cpu().numpy())
            right += [one.label for one in batch]
        return np.concatenate(found), np.array(right)

    def _labels(self, batch: list[Any]) -> torch.Tensor:
        return torch.tensor([one.label for one in batch], device=self.device)

    def _batches(self, examples: Sequence[Example]) -> list[list[Any]]:
        encoded = self.encode(examples)
        return [encoded[start : start + self.at_once] for start in range(0, len(encoded), self.at_once)]
