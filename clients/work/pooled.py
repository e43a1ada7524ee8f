"""Training one model on the pooled data of several clients: central tuning, SISA's slices, and the edits that try to forget.

From θ_start = θ0 + start, Adam takes ``steps`` steps on

    Σ_i weight_i · loss(batch of term i)  +  l1 · ‖θ − θ0‖₁

A term is a pool of clients' training data. A negative weight ascends; a *relabelled* term is trained towards wrong answers;
with ``salient`` only that share of the entries moves whose gradient of the first term's true loss at θ_start is largest;
with ``tensors`` only those tensors move, and all others stay at θ_start.
Which strategy needs what, and from where it comes, is said in its own file. The ℓ1 term moves Adam by its subgradient.
Pooling is done in one place; in a real federation each member would send gradients.

With ``around`` the model is linear in what moves (tangent space; Ortiz-Jimenez et al., 2023): θ_a = θ0 + around stays
where it is, logits are f(x; θ_a) + J(x; θ_a)·Δ, and Δ moves, from ``start`` or from 0. In the ℓ1 term θ is then θ_a + Δ.

Two kinds of noise are there for variants of a training: dropout, of texts alone, and RandAugment, of pictures alone; each is
left out for the other kind. Without them dropout is off. A model whose layers have no dropout of their own (``nn.Dropout``)
has none here.

A pool may be empty, as where only examples of a client leave that it is not trained on: its term is then left out, and where
all of them are, nothing moves.

A step's gradient sums over the examples of a batch in an order that follows from the members' names and the seed alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from clients.data.shards import Example, LabelSet, Shard
from clients.data.source import Source
from clients.errors import InputError, NotFiniteError
from clients.exact import bits, digest
from clients.exact.determinism import deterministic
from clients.settings import TuningSpec
from clients.strict import Strict
from clients.work import tuning
from clients.work.augment import STRONGEST, augmented

if TYPE_CHECKING:
    import torch

    from clients.models.flat import BaseModel


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
        order: number of the variant; it decides the order of the data, the random answers and the noise.
        l1: weight of ‖θ − θ0‖₁.
        salient: share of the entries that move, None for all.
        tensors: (start, stop): tensors start … stop − 1 of the model's layout move; None for all.
        decay: decoupled weight decay (AdamW): a step shrinks what moves by this times the learning rate.
        dropout: probability, of texts.
        augment: RandAugment's number of operations and magnitude (0 to 10), of pictures.
    """

    terms: tuple[Term, ...] = Field(min_length=1)
    steps: int
    batch: int
    rate: float = 1.0
    order: int = 0
    l1: float = 0.0
    salient: float | None = None
    tensors: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] | None = None
    decay: float = Field(0.0, ge=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    augment: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=0, le=STRONGEST)]] | None = None

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
    model: BaseModel,
    source: Source,
    training: Training,
    spec: TuningSpec,
    seed: int,
    start: np.ndarray | None = None,
    around: np.ndarray | None = None,
) -> Trained:
    """Train as asked; the model is left at its pretrained values.

    Args:
        source: has the data of every client whom a term names.
        spec: learning rate, betas, eps and micro batch are its; steps and batch are the training's own.
        start: fp32 [d], added to θ0 before the first step; with ``around``, where the displacement starts.
        around: fp32 [d]; training is linear around θ0 + around, and the vector is how far the displacement moved.

    Raises:
        InputError: the model has no such tensors.
        NotFiniteError: the loss or the vector is not.
    """
    import torch

    free = _entries(model, training.tensors)
    pools = [_pool(source, term, training, seed) for term in training.terms]
    if not any(pools):
        return Trained(np.zeros(model.layout.size, dtype=np.float32), 0.0, 0)
    keys = [[seed, training.order, *sorted(term.clients)] for term in training.terms]
    rows = [tuning.batches(len(pool), training.batch, training.steps, key) for pool, key in zip(pools, keys, strict=True)]
    loss, tokens = 0.0, 0
    with deterministic(), _dropping(model, 0.0 if source.manifest.pictures else training.dropout, [seed, training.order]):
        moving, origin = _placed(model, start, around)
        before = moving.clone()
        moves = None if training.salient is None else _salient(model, source, training, spec, moving)
        parameter = torch.nn.Parameter(moving[free])
        parameter.grad = model.grad[free]
        optimizer = torch.optim.AdamW(
            [parameter], lr=spec.lr * training.rate, betas=spec.betas, eps=spec.eps, weight_decay=training.decay
        )
        for step in range(training.steps):
            model.grad.zero_()
            loss = 0.0
            for part, (term, pool, chosen) in enumerate(zip(training.terms, pools, rows, strict=True)):
                examples = [pool[row] for row in chosen[step]]
                if not examples:
                    continue
                if training.augment is not None and source.manifest.pictures:
                    keys = [[seed, training.order, step, part, row] for row in range(len(examples))]
                    examples = [augmented(e, *training.augment, key) for e, key in zip(examples, keys, strict=True)]
                batch = model.encode(examples)  # a batch at a time: a pool may be large
                with _linear(model, moving):
                    loss += term.weight * model.accumulate(batch, spec.micro_batch, term.weight)
                tokens += sum(encoded.tokens for encoded in batch)
            if training.l1:
                model.grad.add_(torch.sign(moving - origin), alpha=training.l1)
            if moves is not None:
                model.grad.mul_(moves)
            optimizer.step()
        vector = (moving - before).cpu().numpy()
        model.reset()
    if not np.isfinite(loss) or not np.isfinite(vector).all():
        raise NotFiniteError(
            f"pooled training did not stay finite (loss {loss}) at learning rate {spec.lr * training.rate:g}"
        )
    return Trained(vector, loss, tokens)


def try_linear(model: BaseModel, shard: Shard) -> None:
    """Take one example there and back, and score one, with the model linear around its pretrained values.

    Raises:
        InputError: something in the model, or in how its scenario runs it, does not go together with that.
    """
    import torch

    try:
        with deterministic(), model.linear(torch.zeros_like(model.flat)):
            model.accumulate(model.encode(shard.train[:1]))
            model.values(shard.examples[-1:])
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"model.base: {model.spec.base} cannot be taken in its tangent space ({reason}); model.dtype: bfloat16 and "
            "model.gradient_checkpointing: true may stand in the way"
        ) from error


def _placed(model: BaseModel, start: np.ndarray | None, around: np.ndarray | None) -> tuple[torch.Tensor, torch.Tensor]:
    """What moves, fp32 [d], put where it starts, and where in its place θ would be θ0; without ``around`` it is θ itself."""
    import torch

    model.reset()
    if around is None:
        if start is not None:
            model.flat.add_(torch.from_numpy(start).to(model.device))
        return model.flat, model.theta0
    at = torch.from_numpy(around).to(model.device)
    model.flat.add_(at)
    displacement = torch.zeros_like(at)
    if start is not None:
        displacement.copy_(torch.from_numpy(start))
    return displacement, -at


def _linear(model: BaseModel, moving: torch.Tensor) -> AbstractContextManager[None]:
    """The tangent space, if what moves is a displacement in it."""
    return nullcontext() if moving is model.flat else model.linear(moving)


@contextmanager
def _dropping(model: BaseModel, probability: float, key: list[object]) -> Iterator[None]:
    """Dropout layers drop, by a random stream of the key that touches no other."""
    import torch

    layers = [m for m in model.module.modules() if isinstance(m, torch.nn.Dropout)] if probability else []
    own = [layer.p for layer in layers]
    with torch.random.fork_rng([torch.cuda.current_device()] if model.device == "cuda" else [], enabled=bool(layers)):
        if layers:
            torch.manual_seed(int(digest.of_json(["dropout", *key])[:15], 16))
        for layer in layers:
            layer.p, layer.training = probability, True
        try:
            yield
        finally:
            for layer, p in zip(layers, own, strict=True):
                layer.p, layer.training = p, False


def _entries(model: BaseModel, tensors: tuple[int, int] | None) -> slice:
    """Where these tensors, or all, lie among the entries of a vector."""
    bounds = model.layout.bounds
    if tensors is None:
        return slice(0, bounds[-1])
    first, stop = tensors
    if not first < stop < len(bounds):
        raise InputError(f"tensors {first} to {stop} cannot be trained alone; the model tunes {len(bounds) - 1}")
    return slice(bounds[first], bounds[stop])


def _pool(source: Source, term: Term, training: Training, seed: int) -> list[Example]:
    """The training examples of a term's clients, by name; relabelled if it asks for that."""
    examples = [example for client in sorted(term.clients) for example in source.shard(client).train]
    if not term.relabelled:
        return examples
    rng = random.Random(f"relabel/{seed}/{training.order}")
    others = sorted({e.answer for t in training.terms for c in t.clients for e in source.shard(c).train})
    return [replace(example, answer=_other(source.manifest.label_sets, example, others, rng)) for example in examples]


def _other(label_sets: Mapping[str, LabelSet], example: Example, others: Sequence[str], rng: random.Random) -> str:
    """A wrong answer: another label of the example's set, or another answer of the pools; its own if there is no other."""
    labels = label_sets[example.label_set].labels if label_sets else others
    wrong = [label for label in labels if label != example.answer]
    return rng.choice(wrong) if wrong else example.answer


def _salient(model: BaseModel, source: Source, training: Training, spec: TuningSpec, moving: torch.Tensor) -> torch.Tensor:
    """1 for the entries with the largest gradient of the first term's true loss, else 0; fp32 [d]."""
    import torch

    term, share = training.terms[0], training.salient
    assert share is not None
    pool = [example for client in sorted(term.clients) for example in source.shard(client).train]
    model.grad.zero_()
    for first in range(0, len(pool), training.batch):
        part = model.encode(pool[first : first + training.batch])
        with _linear(model, moving):
            model.accumulate(part, spec.micro_batch, len(part) / len(pool))
    mask = bits.largest_share(model.grad.cpu().numpy(), share)
    return torch.from_numpy(mask).to(model.device, torch.float32)
