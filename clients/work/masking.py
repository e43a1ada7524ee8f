"""Optimised masks (ClAMU, seed document 003): learn which entries of a merged direction to serve, by straight-through.

M = θ0 + 1{s > 0} ⊙ δ, with σ(s) > ½ ⇔ s > 0;  ∂L/∂s ≈ ∂L/∂M ⊙ σ(s)(1 − σ(s)) ⊙ δ,  δ = scale · direction.
Deviations: scores move by Adam instead of plain gradient descent (the gradient's size follows δ, which differs by orders
of magnitude between tensors). Scores start at 0 as in the paper: a tie counts as 0, so the first step is taken at θ0.
Members are tuned on jointly in one place; in a real federation they would send gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clients.data.dataset import Shard
from clients.exact import finite
from clients.exact.determinism import deterministic

if TYPE_CHECKING:
    from clients.models.flat import BaseModel


def learn_mask(
    model: BaseModel, shards: list[Shard], direction: np.ndarray, scale: float, steps: int, lr: float, micro: int | None
) -> np.ndarray:
    """The mask that lowers the loss of the shards' training data together.

    Args:
        direction: fp32 [d].
        scale: factor on the direction.
        micro: examples per forward pass, None for all.

    Returns:
        bool [d].

    Raises:
        NotFiniteError: the loss or a score is not; the mask would be whatever NaN compares to.
    """
    import torch

    with deterministic():
        delta = torch.from_numpy(direction).to(model.device) * scale
        batches = [model.encode(shard.train) for shard in shards]
        scores = torch.nn.Parameter(torch.zeros_like(delta))
        scores.grad = torch.zeros_like(delta)
        optimizer = torch.optim.Adam([scores], lr=lr)
        for _ in range(steps):
            with torch.no_grad():
                torch.addcmul(model.theta0, delta, (scores > 0).float(), out=model.flat)
            model.grad.zero_()
            for shard, batch in zip(shards, batches, strict=True):  # one at a time bounds memory; each is a gradient step
                loss = model.accumulate(batch, micro, 1 / len(batches))
                finite.check(loss, f"client {shard.client}: the loss under its mask")
            with torch.no_grad():
                gate = torch.sigmoid(scores)
                torch.mul(model.grad, gate * (1 - gate) * delta, out=scores.grad)
            optimizer.step()
        learned = scores.detach().cpu().numpy()
        finite.check(learned, f"client {shards[0].client}: the scores of its mask")
        model.reset()
    return learned > 0
