"""Deterministic fine-tuning of one client, plain or sign-fixed.

Plain: Adam on the client's shard. Sign-fixed (SIFT-Masks, arXiv 2504.04626): a sign vector v ∈ {−1,+1}^d is drawn from a
seed before any training and shared by all; after each optimizer step every entry with τ⊙v ≤ 0 goes back to θ0.
Deviations: the paper's pseudocode draws v from {0,1} and lists the projection before the step; this follows its prose
(±1, after the step). Adam's moments are not reset by the projection. Dropout is off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from clients.data.dataset import Shard
from clients.errors import NotFiniteError
from clients.exact import digest
from clients.exact.determinism import deterministic, environment
from clients.exact.grid import DOUBLE, FEWEST_BITS, LARGEST_INT64, MOST_BITS, Grid
from clients.settings import TuningSpec

if TYPE_CHECKING:
    import torch

    from clients.models.flat import BaseModel


# Of the model section; the rest is in the base model's digest or in the names of what is tuned.
RECIPE = {"max_length", "chat", "head", "dtype", "lora", "gradient_checkpointing"}
PROJECTED_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Tuned:
    """A client's task vector (fp32 [d]), the digest of the recipe it follows from, and what it took."""

    vector: np.ndarray
    recipe: str
    steps: int
    tokens: int
    loss: float


def recipe_digest(model: BaseModel, shard: Shard, rule: str, spec: TuningSpec, seed: int) -> str:
    """Digest of everything that decides a task vector's bits."""
    columns = {"columns": [e.columns for e in shard.train]} if model.shortened(shard.train) else {}
    return digest.of_json(
        columns
        | {
            "base": model.digest,
            "tuned": digest.of_json(model.layout.names),
            "model": model.spec.model_dump(mode="json", include=RECIPE),
            "shard": shard.digest(),
            "kind": rule,
            "tuning": spec.model_dump(mode="json") | {"grid": grid_bits(spec)},
            "seed": seed,
            "environment": environment(model.device),
        }
    )


def grid_bits(spec: TuningSpec) -> int:
    """Bits of the grid that task vectors are summed on; ``auto``: its step is at most lr · 2^-14."""
    if spec.grid != "auto":
        return spec.grid
    return min(max(math.ceil(14 - math.log2(spec.lr)), FEWEST_BITS), MOST_BITS)


def grid_of(spec: TuningSpec, most: int) -> Grid:
    """The grid that up to ``most`` task vectors are summed on: it reaches as far as Adam, or as int64 allows."""
    bits = grid_bits(spec)
    farthest = reach(spec.steps, spec.betas) * spec.lr * 2.0**bits
    return Grid(bits, math.ceil(min(farthest, DOUBLE - 1, LARGEST_INT64 // most)), most)


@lru_cache
def reach(steps: int, betas: tuple[float, float]) -> float:
    """How far so many steps of Adam move an entry at most, in learning rates, whatever the gradients; maybe infinite.

    A step is lr · m̂/(√v̂ + ε) with m̂ = Σ wᵢ gᵢ and v̂ = Σ uᵢ gᵢ², so that |m̂|/√v̂ ≤ √(Σ wᵢ²/uᵢ) (Cauchy and Schwarz), where
    wᵢ = (1−β₁)β₁^(t−i)/(1−β₁^t) and uᵢ likewise of β₂. Rounding θ to fp32 at most doubles a step, since not to move at all
    would be as near; holding signs only shortens the way. A hundredth is for rounding in Adam itself, as long as ε is above
    1e-16, below which fp32 has no squares. (A vector beyond the bound is refused, never wrapped.)
    """
    one, two = betas
    ratio = 0.0 if one == 0 else one**2 / two if two else math.inf
    moved = powers = 0.0
    for t in range(1, steps + 1):
        powers = ratio * powers + 1 if powers else 1.0
        moved += (1 - one) / (1 - one**t) * math.sqrt((1 - two**t) / (1 - two) * powers)
    return 2 * 1.01 * moved


def tune(model: BaseModel, shard: Shard, rule: str, spec: TuningSpec, seed: int, signs: np.ndarray | None = None) -> Tuned:
    """Fine-tune the base model on a shard; the model is left at its pretrained values.

    Args:
        rule: name of the rule, for the recipe.
        signs: of -1 and +1, fp32 [d], if entries are held on one side of θ0; None for plain tuning.

    Raises:
        NotFiniteError: the loss or the task vector is not.
    """
    import torch

    with deterministic():
        model.reset()
        encoded = model.encode(shard.train)
        rows_of_steps = batches(len(encoded), spec.batch, spec.steps, [seed, shard.client])
        parameter = torch.nn.Parameter(model.flat)
        parameter.grad = model.grad
        optimizer = torch.optim.Adam([parameter], lr=spec.lr, betas=spec.betas, eps=spec.eps)
        sides = None if signs is None else torch.from_numpy(signs).to(torch.int8).to(model.device)
        loss, tokens = float("nan"), 0
        for rows in rows_of_steps:
            batch = [encoded[row] for row in rows]
            model.grad.zero_()
            loss = model.accumulate(batch, spec.micro_batch)
            optimizer.step()
            if sides is not None:
                _project(model.flat, model.theta0, sides)
            tokens += sum(e.tokens for e in batch)
        vector = (model.flat - model.theta0).cpu().numpy()
        model.reset()
    if not np.isfinite(loss) or not np.isfinite(vector).all():
        raise NotFiniteError(
            f"client {shard.client}: tuning did not stay finite (loss {loss}); lower tuning.lr = {spec.lr:g}"
        )
    return Tuned(vector, recipe_digest(model, shard, rule, spec, seed), len(rows_of_steps), tokens, loss)


def _project(flat: torch.Tensor, theta0: torch.Tensor, signs: torch.Tensor) -> None:
    """Set entries that left θ0 against their sign back to θ0: v ⊙ max(v ⊙ θ, v ⊙ θ0), which is exact, since v is ±1.

    In blocks, since temporaries of d would cost a large model half as much memory again.
    """
    import torch

    with torch.no_grad():
        for start in range(0, flat.numel(), PROJECTED_AT_ONCE):
            part = slice(start, start + PROJECTED_AT_ONCE)
            sign, theta = signs[part].to(flat.dtype), flat[part]
            torch.maximum(theta.mul_(sign), theta0[part] * sign, out=theta)
            theta.mul_(sign)


def batches(examples: int, batch: int | Literal["full"], steps: int, key: list[object]) -> list[list[int]]:
    """Rows of each step: all of them, or slices of per-epoch shuffles seeded by the key, JSON values."""
    if batch == "full" or batch >= examples:
        return [list(range(examples))] * steps
    import torch

    order = torch.Generator().manual_seed(int(digest.of_json(key)[:15], 16))
    found: list[list[int]] = []
    rows: list[int] = []
    while len(found) < steps:
        if len(rows) < batch:
            rows += torch.randperm(examples, generator=order).tolist()
        found.append(rows[:batch])
        rows = rows[batch:]
    return found
