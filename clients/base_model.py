"""A base model whose tunable parameters are views into one flat buffer, so that a task vector is one subtraction.

``LanguageModel`` is what tuning, scoring and mask learning need of a model; a later kind of model (image classifier,
encoder-decoder) gives the same attributes and methods.
"""

import fnmatch
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from clients import digest, text
from clients.data.dataset import Dataset, Example
from clients.errors import InputError
from clients.pretrain import tiny_gpt2
from clients.settings import ALL_BUT_EMBEDDINGS_AND_HEAD, TINY_GPT2, ModelSpec

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


class LanguageModel:
    """A causal language model on one device, with its tunable parameters flat.

    Attributes:
        layout: the tunable tensors; ``layout.size`` is d.
        theta0: fp32 [d], the pretrained values.
        flat: [d], the live values; the module's parameters are views into it.
        grad: [d], the live gradient, likewise.
        digest: of every parameter, the configuration and the tokenizer.
    """

    def __init__(self, module: nn.Module, tokenizer: Any, spec: ModelSpec, device: str) -> None:
        self.module = module.to(device).eval()  # no dropout: tuning is a function of the data and the recipe
        self.tokenizer, self.device, self.max_length = tokenizer, device, spec.max_length
        self.digest = _weights_digest(self.module, tokenizer)
        tunable = _tunable(self.module, spec.tune)
        self.layout, self.flat = _flatten(self.module, tunable, device)
        self.grad = torch.zeros_like(self.flat)
        for name, start, stop in zip(self.layout.names, self.layout.bounds, self.layout.bounds[1:], strict=False):
            tunable[name].grad = self.grad[start:stop].view(tunable[name].shape)
        self.theta0 = self.flat.clone()
        self.parameters = sum(p.numel() for p in self.module.parameters())

    def assign(self, theta: np.ndarray) -> None:
        """Set the tunable parameters, fp32 [d]."""
        self.flat.copy_(torch.from_numpy(theta))

    def reset(self) -> None:
        """Set the tunable parameters back to the pretrained values."""
        self.flat.copy_(self.theta0)

    def encode(self, examples: tuple[Example, ...]) -> list[text.Encoded]:
        return [text.encode(self.tokenizer, example, self.max_length) for example in examples]

    def loss(self, batch: list[text.Encoded]) -> torch.Tensor:
        """Mean cross-entropy over the answer tokens of a batch, a scalar."""
        logits, targets = self._predict(batch)
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=text.IGNORED)

    def _predict(self, batch: list[text.Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (fp32) and the tokens they should predict, from the first answer token of any example on.

        The head is not computed over the prompts that all have: with large vocabularies it is a third of the work.
        """
        ids, targets = text.collate(batch, self.device)
        kept = ids.shape[1] - min(len(e.ids) - e.answer - 1 for e in batch)
        logits = self.module(input_ids=ids, logits_to_keep=kept).logits
        return logits[:, :-1].float(), targets[:, -kept:][:, 1:]

    @torch.no_grad()
    def answer_losses(self, encoded: list[text.Encoded]) -> tuple[np.ndarray, np.ndarray]:
        """Summed cross-entropy of each answer (EOS included) and its number of tokens; float64 [n] and int64 [n]."""
        sums, counts = [], []
        for start in range(0, len(encoded), SCORED_AT_ONCE):
            logits, targets = self._predict(encoded[start : start + SCORED_AT_ONCE])
            losses = nn.functional.cross_entropy(
                logits.transpose(1, 2), targets, ignore_index=text.IGNORED, reduction="none"
            )
            sums.append(losses.double().sum(1).cpu().numpy())
            counts.append((targets != text.IGNORED).sum(1).cpu().numpy())
        return np.concatenate(sums), np.concatenate(counts)

    @torch.no_grad()
    def features(self, examples: tuple[Example, ...]) -> np.ndarray:
        """Mean over a shard of the last layer's output at the last token of the answer; fp32 [width].

        Not at EOS: nothing comes after it in training, so a model says nothing there.
        """
        total = None
        encoded = self.encode(examples)
        for start in range(0, len(encoded), SCORED_AT_ONCE):
            batch = encoded[start : start + SCORED_AT_ONCE]
            ids, _ = text.collate(batch, self.device)
            hidden = self.module(input_ids=ids, output_hidden_states=True).hidden_states[-1].double()
            last = torch.tensor([len(e.ids) - 2 for e in batch], device=self.device)
            summed = hidden[torch.arange(len(batch), device=self.device), last].sum(0)
            total = summed if total is None else total + summed
        assert total is not None
        return (total / len(encoded)).float().cpu().numpy()


def load(spec: ModelSpec, dataset: Dataset, device: str) -> LanguageModel:
    """The base model of a scenario.

    Raises:
        InputError: it cannot be opened, is no causal language model, has no end-of-sequence token, or is too short.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("workers.gpus: PyTorch finds no GPU here; set workers.gpus: 0")
    if spec.base == TINY_GPT2:
        module, tokenizer = _open(str(tiny_gpt2(spec.tiny, dataset.public)), spec)
    else:
        module, tokenizer = _open(spec.base, spec)
    _check_fits(module, tokenizer, spec)
    return LanguageModel(module, tokenizer, spec, device)


def _open(source: str, spec: ModelSpec) -> tuple[nn.Module, Any]:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    path = Path(source).expanduser()
    if source.startswith((".", "/", "~")) and not path.is_dir():
        raise InputError(f"model.base: there is no folder {source}")
    where = str(path) if path.is_dir() else source
    options = {"trust_remote_code": spec.trust_remote_code}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
        module, loading = transformers.AutoModelForCausalLM.from_pretrained(
            where, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
        )
    except Exception as error:  # the library raises a dozen kinds, with the network's on top
        raise InputError(
            f"model.base: cannot open {source} as a causal language model with safetensors weights: "
            f"{(str(error).strip() or repr(error)).splitlines()[0]}"
        ) from error
    if missing := sorted(loading["missing_keys"]):  # the library fills them at random
        raise InputError(f"model.base: {source} has no weights for {len(missing)} tensors, as {missing[0]}")
    return module, tokenizer


def _check_fits(module: Any, tokenizer: Any, spec: ModelSpec) -> None:
    if tokenizer.eos_token_id is None:
        raise InputError(f"model.base: the tokenizer of {spec.base} has no end-of-sequence token, which ends an answer")
    rows = module.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise InputError(f"model.base: the tokenizer of {spec.base} has {len(tokenizer)} tokens, its model only {rows}")
    positions = getattr(module.config, "max_position_embeddings", None)
    if positions is not None and spec.max_length > positions:
        raise InputError(f"model.max_length: {spec.base} takes {positions} tokens, not {spec.max_length}")


def _tunable(module: Any, tune: str | list[str]) -> dict[str, nn.Parameter]:
    """Tunable parameters by name, in the model's order."""
    named = dict(module.named_parameters())
    if isinstance(tune, list):
        chosen = {n: p for n, p in named.items() if any(fnmatch.fnmatch(n, pattern) for pattern in tune)}
    elif tune == ALL_BUT_EMBEDDINGS_AND_HEAD:
        frozen = {id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
        head = module.get_output_embeddings()
        frozen |= {id(p) for p in head.parameters()} if head is not None else set()
        chosen = {n: p for n, p in named.items() if id(p) not in frozen}
    else:
        chosen = named
    if not chosen:
        raise InputError(f"model.tune: no parameter matches {tune}; the first ones are {', '.join(list(named)[:5])}")
    return chosen


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


def _weights_digest(module: Any, tokenizer: Any) -> str:
    weights = {name: digest.of_array(p.detach().cpu().numpy()) for name, p in module.named_parameters()}
    config = json.loads(module.config.to_json_string(use_diff=False))
    config = {k: v for k, v in config.items() if k not in ("_name_or_path", "transformers_version")}
    words = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else tokenizer.get_vocab()
    return digest.of_json([weights, config, words, tokenizer.eos_token_id])
