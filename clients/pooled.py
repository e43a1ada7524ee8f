"""Training one model on the pooled data of several clients: central tuning, SISA's slices, and the edits that try to forget.

From θ_start = θ0 + start, Adam takes ``steps`` steps on

    Σ_i weight_i · loss(batch of term i)  +  l1 · ‖θ − θ0‖₁

A term is a pool of clients' training data. A negative weight ascends; a *relabelled* term is trained towards wrong answers;
with ``salient`` only that share of the entries moves whose gradient of the first term's true loss at θ_start is largest.
Which strategy needs what, and from where it comes, is said in its own file. Dropout is off. The ℓ1 term moves Adam by its
subgradient. Pooling is done in one place; in a real federation each member would send gradients.

A step's gradient sums over the examples of a batch in an order that follows from the members' names and the seed alone.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import Field

from clients import bits, tuning
from clients.data.dataset import Dataset, Example
from clients.determinism import deterministic
from clients.errors import InputError
from clients.models import BaseModel
from clients.settings import TuningSpec
from clients.strict import Strict


class Term(Strict):
    """One part of the loss: whose data, how it counts, and whether its answers are replaced by random others."""

    clients: tuple[str, ...] = Field(min_length=1)
    weight: float = 1.0
    relabelled: bool = False


class Training(Strict):
    """What is trained.

    Attributes:
        batch: examples of each term per step.
        rate: factor on the scenario's ``tuning.lr``.
        order: number of the variant; it decides the order of the data and the random answers.
        l1: weight of ‖θ − θ0‖₁.
        salient: share of the entries that move, None for all.
    """

    terms: tuple[Term, ...] = Field(min_length=1)
    steps: int
    batch: int
    rate: float = 1.0
    order: int = 0
    l1: float = 0.0
    salient: float | None = None

    @property
    def gradients(self) -> int:
        """How many batches are gone through: a step of two terms counts as two, finding the salient entries as one."""
        return self.steps * len(self.terms) + (self.salient is not None)


@dataclass(frozen=True)
class Trained:
    """θ_end − θ_start (fp32 [d]; exactly 0 where nothing moved), the last step's loss, and the tokens gone through."""

    vector: np.ndarray
    loss: float
    tokens: int


def train(
    model: BaseModel, dataset: Dataset, training: Training, spec: TuningSpec, seed: int, start: np.ndarray | None = None
) -> Trained:
    """Train as asked; the model is left at its pretrained values.

    Args:
        spec: learning rate, betas, eps and micro batch are its; steps and batch are the training's own.
        start: fp32 [d], added to θ0 before the first step.

    Raises:
        InputError: the loss or the vector is not finite.
    """
    pools = [_pool(dataset, term, training, seed) for term in training.terms]
    keys = [[seed, training.order, *sorted(term.clients)] for term in training.terms]
    rows = [tuning.batches(len(pool), training.batch, training.steps, key) for pool, key in zip(pools, keys, strict=True)]
    loss, tokens = 0.0, 0
    with deterministic():
        model.reset()
        if start is not None:
            model.flat.add_(torch.from_numpy(start).to(model.device))
        before = model.flat.clone()
        moves = None if training.salient is None else _salient(model, dataset, training, spec)
        parameter = torch.nn.Parameter(model.flat)
        parameter.grad = model.grad
        optimizer = torch.optim.Adam([parameter], lr=spec.lr * training.rate, betas=spec.betas, eps=spec.eps)
        for step in range(training.steps):
            model.grad.zero_()
            loss = 0.0
            for term, pool, chosen in zip(training.terms, pools, rows, strict=True):
                batch = model.encode([pool[row] for row in chosen[step]])  # a batch at a time: a pool may be large
                loss += term.weight * model.accumulate(batch, spec.micro_batch, term.weight)
                tokens += sum(encoded.tokens for encoded in batch)
            if training.l1:
                model.grad.add_(torch.sign(model.flat - model.theta0), alpha=training.l1)
            if moves is not None:
                model.grad.mul_(moves)
            optimizer.step()
        vector = (model.flat - before).cpu().numpy()
        model.reset()
    if not np.isfinite(loss) or not np.isfinite(vector).all():
        raise InputError(f"pooled training did not stay finite (loss {loss}) at learning rate {spec.lr * training.rate:g}")
    return Trained(vector, loss, tokens)


def _pool(dataset: Dataset, term: Term, training: Training, seed: int) -> list[Example]:
    """The training examples of a term's clients, by name; relabelled if it asks for that."""
    examples = [example for client in sorted(term.clients) for example in dataset.shard(client).train]
    if not term.relabelled:
        return examples
    rng = random.Random(f"relabel/{seed}/{training.order}")
    others = sorted({e.answer for t in training.terms for c in t.clients for e in dataset.shard(c).train})
    return [replace(example, answer=_other(dataset, example, others, rng)) for example in examples]


def _other(dataset: Dataset, example: Example, others: Sequence[str], rng: random.Random) -> str:
    """A wrong answer: another label of the example's set, or another answer of the pools; its own if there is no other."""
    labels = dataset.label_sets[example.label_set].labels if dataset.label_sets else others
    wrong = [label for label in labels if label != example.answer]
    return rng.choice(wrong) if wrong else example.answer


def _salient(model: BaseModel, dataset: Dataset, training: Training, spec: TuningSpec) -> torch.Tensor:
    """1 for the entries with the largest gradient of the first term's true loss, else 0; fp32 [d]."""
    term, share = training.terms[0], training.salient
    assert share is not None
    pool = [example for client in sorted(term.clients) for example in dataset.shard(client).train]
    model.grad.zero_()
    for first in range(0, len(pool), training.batch):
        part = model.encode(pool[first : first + training.batch])
        model.accumulate(part, spec.micro_batch, len(part) / len(pool))
    mask = bits.largest_share(model.grad.cpu().numpy(), share)
    return torch.from_numpy(mask).to(model.device, torch.float32)
