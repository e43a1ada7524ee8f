"""What the embedded base models share in being made: the steps of pretraining, and how they are written down."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clients.settings import TinyCLIP, TinyGPT2, TinyResNet

Sizes = TinyGPT2 | TinyCLIP | TinyResNet


def pretrain(
    model: Any, sizes: Sizes, examples: int, loss: Callable[[torch.Tensor], torch.Tensor], weight_decay: float = 0.01
) -> None:
    """AdamW with a short linear warm-up and half a cosine to zero, on batches drawn with replacement.

    Args:
        examples: how many there are to draw from.
        loss: a scalar of the drawn examples' numbers, int64 [batch].
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=sizes.lr, weight_decay=weight_decay)
    warmup = max(1, sizes.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * step / sizes.steps))))),
    )
    order = torch.Generator().manual_seed(sizes.seed)
    for _ in range(sizes.steps):
        value = loss(torch.randint(examples, (sizes.batch,), generator=order))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()


def write(folder: Path, sizes: Sizes, *parts: Any) -> None:
    """Save model, tokenizer and processor, and beside them the sizes they follow from."""
    for part in parts:
        part.save_pretrained(folder)
    (folder / "recipe.json").write_text(json.dumps(sizes.model_dump(mode="json"), indent=1))
