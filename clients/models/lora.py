"""Low-rank adapters (LoRA, Hu et al., 2021) through peft: their parameters are the task vector, the model stays as it is.

With B = 0 at first the base model is unchanged. A and B are drawn or set once, from a seed, for all clients. Deviation from
common practice: what is merged are A and B themselves, not their products.
"""

import logging
import warnings
from typing import Any

import torch
from torch import nn

from clients.errors import InputError
from clients.settings import LoraSpec


def add_adapters(module: Any, spec: LoraSpec, head: nn.Module | None) -> None:
    """Give a module's linear layers their adapters, in place: those called like a target, or all of them; never the head.

    Raises:
        InputError: no linear layer is called like one of the targets, or there is none at all.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

    heads = set(head.modules()) if head is not None else set()
    linear = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | Conv1D) and m not in heads]
    called = sorted({name.rpartition(".")[2] for name in linear})
    if not linear:
        raise InputError("model.lora: the model has no linear layer besides its head, and only those get adapters")
    for target in spec.targets or ():
        if not any(_is(name, target) for name in linear):
            raise InputError(
                f"model.lora.targets: no linear layer is called {target}; the model's are called {', '.join(called)}"
            )
    chosen = [name for name in linear if spec.targets is None or any(_is(name, target) for target in spec.targets)]
    config = LoraConfig(r=spec.rank, lora_alpha=spec.alpha, lora_dropout=0.0, target_modules=chosen)
    logging.getLogger("peft").setLevel(logging.ERROR)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft tells of GPT-2's transposed layers, which it then handles
        torch.manual_seed(spec.seed)
        inject_adapter_in_model(config, module)


def _is(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)
