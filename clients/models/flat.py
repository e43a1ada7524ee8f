"""A base model whose tunable parameters are views into one flat buffer, so that a task vector is one subtraction."""

import fnmatch
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from clients.data.dataset import Example
from clients.errors import InputError
from clients.exact import digest
from clients.models import tangent
from clients.settings import ALL_BUT_EMBEDDINGS_AND_HEAD, ModelSpec

SCORED_AT_ONCE = 64


@dataclass(frozen=True)
class Layout:
    """Where each tunable tensor lies in the flat buffer: names, shapes and bounds (start of each, then the end)."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    bounds: tuple[int, ...]

    @property
    def size(self) -> int:
        return self.bounds[-1]


class BaseModel(ABC):
    """A model on one device, with its tunable parameters flat: what tuning, scoring and mask learning need of it.

    ``bfloat16`` is the type of the computation (autocast): tunable parameters, gradients and task vectors stay float32.

    Attributes:
        layout: the tunable tensors; ``layout.size`` is d.
        theta0: fp32 [d], the pretrained values.
        flat: fp32 [d], the live values; the module's parameters are views into it.
        grad: fp32 [d], the live gradient, likewise.
        digest: of every parameter and buffer, the configuration and what turns examples into numbers.
        micro_batch: how many examples a pass has at most, if that is limited; ``load`` sets it.
        tuned: the module's tunable parameters, in the layout's order.
        parameters: how many there are, tunable or not.
        notes: what was assumed when it was opened, in sentences.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self, module: nn.Module, tunable: dict[str, nn.Parameter], words: Any, spec: ModelSpec, device: str
    ) -> None:
        self.module: Any = module.to(device).eval()  # no dropout: tuning is a function of the data and the recipe
        self.spec, self.device = spec, device
        self.micro_batch: int | None = None
        if wrong := [name for name, p in self.module.named_parameters() if not torch.isfinite(p).all()]:
            raise InputError(f"model.base: {spec.base}: {len(wrong)} tensors hold NaN or infinite weights, as {wrong[0]}")
        self.digest = digest.of_json([_weights(self.module), words])
        self.layout, self.flat = _flatten(self.module, tunable, device)
        self.grad = torch.zeros_like(self.flat)
        for name, start, stop in zip(self.layout.names, self.layout.bounds, self.layout.bounds[1:], strict=False):
            tunable[name].grad = self.grad[start:stop].view(tunable[name].shape)
        self.theta0 = self.flat.clone()
        self.tuned = [tunable[name] for name in self.layout.names]
        self.parameters = sum(p.numel() for p in self.module.parameters())

    def assign(self, theta: np.ndarray) -> None:
        """Set the tunable parameters, fp32 [d]."""
        self.flat.copy_(torch.from_numpy(theta))

    def reset(self) -> None:
        """Set the tunable parameters back to the pretrained values."""
        self.flat.copy_(self.theta0)

    @abstractmethod
    def encode(self, examples: Sequence[Example]) -> list[Any]:
        """Examples as the model's numbers; each has ``tokens``, the positions that a pass over it computes."""

    @abstractmethod
    def loss(self, batch: list[Any]) -> torch.Tensor:
        """Mean loss of a batch of encoded examples, a scalar."""

    @abstractmethod
    def weight(self, batch: list[Any]) -> int:
        """How many values ``loss`` is the mean of: answer tokens or examples."""

    @abstractmethod
    def values(self, examples: Sequence[Example]) -> list[float]:
        """What each example scores under the current parameters, between 0 and 1; NaN where they give no finite numbers."""

    @abstractmethod
    def probabilities(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Probability of every label, float64 [n, labels], and the right one's column, int64 [n].

        Where answers are free text, the answer probability alone: one column, which is the right one.
        """

    @abstractmethod
    def seen(self, batch: list[Any]) -> torch.Tensor:
        """What the head sees of each of some encoded examples, [batch, width]."""

    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Mean over a shard of what the head sees of an example, summed in float64; fp32 [width]."""
        summed = [rows.double().sum(0) for rows in self._seen(examples)]
        return (torch.stack(summed).sum(0) / len(examples)).float().cpu().numpy()

    def embeddings(self, examples: Sequence[Example]) -> np.ndarray:
        """What the head sees of each example; fp32 [examples, width]."""
        return torch.cat(self._seen(examples)).float().cpu().numpy()

    @torch.no_grad()
    def _seen(self, examples: Sequence[Example]) -> list[torch.Tensor]:
        encoded = self.encode(examples)
        with self.computing():
            return [self.seen(encoded[start : start + self.at_once]) for start in range(0, len(encoded), self.at_once)]

    def shortened(self, examples: Sequence[Example]) -> int:
        """How many of them are too long for the model and lose something.

        Raises:
            InputError: one cannot be shortened.
        """
        return 0

    @abstractmethod
    def shown(self, example: Example) -> tuple[str, str]:
        """What the model is given of an example, and what it is to answer, as text; special tokens are spelt."""

    @property
    def at_once(self) -> int:
        """Examples of a pass that scores, or (prompt, label) pairs."""
        return self.micro_batch or SCORED_AT_ONCE

    def accumulate(self, batch: list[Any], micro_batch: int | None = None, share: float = 1.0) -> float:
        """Add the gradient of ``share`` · loss to ``grad``, ``micro_batch`` examples at a time; returns the loss."""
        parts = [batch] if micro_batch is None else [batch[i : i + micro_batch] for i in range(0, len(batch), micro_batch)]
        whole, losses = self.weight(batch), []
        with self._recomputing():
            for part in parts:
                fraction = self.weight(part) / whole
                with self.computing():
                    loss = self.loss(part)
                (loss * (share * fraction)).backward()
                losses.append(loss.item() * fraction)
        return math.fsum(losses)

    def computing(self) -> Any:
        """The context of every pass: autocast where the scenario asks for bfloat16."""
        wanted = self.spec.dtype == "bfloat16"
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16, enabled=wanted)

    @contextmanager
    def linear(self, displacement: torch.Tensor) -> Iterator[None]:
        """Inside the block the model is f(x; θ) + J(x; θ)·displacement, θ the live values; f gives logits.

        ``grad`` then takes the gradient for the displacement. One block at a time: blocks do not nest.

        Args:
            displacement: fp32 [d], on the model's device.
        """
        tangents = {}
        for parameter, start, stop in zip(self.tuned, self.layout.bounds, self.layout.bounds[1:], strict=False):
            tangents[parameter] = displacement[start:stop].view(parameter.shape).detach().requires_grad_()
            tangents[parameter].grad = parameter.grad
        with tangent.duals(self.module, tangents):
            yield

    @contextmanager
    def _recomputing(self) -> Iterator[None]:
        """Layers look at their own ``training`` to decide on checkpointing; what is inside them stays without dropout."""
        layers: list[nn.Module] = []
        if self.spec.gradient_checkpointing:  # a tiny model's step feels the search
            from transformers.modeling_layers import GradientCheckpointingLayer

            modules = self.module.modules()
            layers = [m for m in modules if isinstance(m, GradientCheckpointingLayer) and m.gradient_checkpointing]
        for layer in layers:
            layer.training = True
        try:
            yield
        finally:
            for layer in layers:
                layer.training = False


def tunable(
    module: nn.Module, spec: ModelSpec, frozen: Sequence[nn.Module | None], fresh: nn.Module | None = None
) -> dict[str, nn.Parameter]:
    """Tunable parameters by name, in the model's order.

    Args:
        frozen: modules that ``all-but-embeddings-and-head`` leaves out besides every ``nn.Embedding``.
        fresh: a new head, which is tuned whatever else is.

    Raises:
        InputError: none is.
    """
    named = dict(module.named_parameters())
    head = {id(p) for p in fresh.parameters()} if fresh is not None else set()
    if spec.lora is not None:
        return {n: p for n, p in named.items() if ".lora_" in n or id(p) in head}
    if isinstance(spec.tune, list):
        chosen = {n: p for n, p in named.items() if any(fnmatch.fnmatch(n, pattern) for pattern in spec.tune)}
    elif spec.tune == ALL_BUT_EMBEDDINGS_AND_HEAD:
        left_out = [m for m in module.modules() if isinstance(m, nn.Embedding)] + [m for m in frozen if m is not None]
        ids = {id(p) for m in left_out for p in m.parameters()}
        chosen = {n: p for n, p in named.items() if id(p) not in ids}
    else:
        chosen = named
    if not chosen:
        raise InputError(f"model.tune: no parameter matches {spec.tune}; the first ones are {', '.join(list(named)[:5])}")
    return {n: p for n, p in named.items() if n in chosen or id(p) in head}


def _flatten(module: nn.Module, tunable: dict[str, nn.Parameter], device: str) -> tuple[Layout, torch.Tensor]:
    bounds = [0]
    for parameter in tunable.values():
        bounds.append(bounds[-1] + parameter.numel())
    flat = torch.empty(bounds[-1], dtype=torch.float32, device=device)
    module.requires_grad_(False)
    for parameter, start, stop in zip(tunable.values(), bounds, bounds[1:], strict=False):
        view = flat[start:stop].view(parameter.shape)
        view.copy_(parameter.data)
        parameter.data = view
        parameter.requires_grad_(True)
    return Layout(tuple(tunable), tuple(tuple(p.shape) for p in tunable.values()), tuple(bounds)), flat


def _weights(module: nn.Module) -> dict[str, str]:
    """Digest of every parameter and persistent buffer (the running statistics of a batch norm decide results too)."""
    values = {name: value.detach().cpu() for name, value in module.state_dict().items()}
    return {
        name: digest.of_array((v.view(torch.int16) if v.dtype == torch.bfloat16 else v).numpy())
        for name, v in values.items()
    }


def config_facts(config: Any) -> dict[str, Any]:
    """A transformers configuration as JSON values, without where it came from."""
    facts = json.loads(config.to_json_string(use_diff=False))
    return {key: value for key, value in facts.items() if key not in ("_name_or_path", "transformers_version")}
