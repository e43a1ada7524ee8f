"""A language model's body under a classification head, ClAMU's alternative to the LM head (its Tables 4 and 5).

``fresh``: a head drawn at random, tuned with the body. ``labels``: a row per label, the mean of its tokens' rows in the LM
head; it is not tuned, so that the task vector is of the body alone. The head sees the last layer at the prompt's last token
(of an encoder-decoder: the decoder's first position).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from clients.data.dataset import Example, LabelSet
from clients.models import text
from clients.models.classifier import HeadedModel, fresh_head
from clients.models.flat import config_facts, tunable
from clients.models.language import tokenizer_facts
from clients.models.tangent import expanded
from clients.settings import ModelSpec


@dataclass(frozen=True)
class Classified:
    """Token ids of a prompt and the number of its label."""

    ids: tuple[int, ...]
    label: int

    @property
    def tokens(self) -> int:
        return len(self.ids)


class TextClassifier(HeadedModel):
    """A causal or encoder-decoder language model with a classification head instead of its LM head."""

    def __init__(
        self, module: Any, tokenizer: Any, spec: ModelSpec, device: str, label_sets: Mapping[str, LabelSet]
    ) -> None:
        self.tokenizer, self.config = tokenizer, module.config
        (self.label_set,) = label_sets.values()
        head = _head(module, tokenizer, self.label_set, spec)
        words = [config_facts(module.config), tokenizer_facts(tokenizer), list(self.label_set.labels)]
        whole = module.config.is_encoder_decoder  # T5 has no body of its own
        body = nn.ModuleDict({"body": module if whole else module.base_model, "head": head})
        fresh = head if spec.head == "fresh" else None
        frozen = [module.get_output_embeddings(), head if fresh is None else None]
        chosen = tunable(body, spec, frozen, fresh)
        super().__init__(body, chosen, words, spec, device)

    def encode(self, examples: Sequence[Example]) -> list[Classified]:
        s, closed = self.spec, self.config.is_encoder_decoder
        prompts = [text.encode_prompt(self.tokenizer, e.prompt, s.chat, closed)[-s.max_length :] for e in examples]
        numbers = [self.label_set.labels.index(e.answer) for e in examples]
        return [Classified(tuple(ids), number) for ids, number in zip(prompts, numbers, strict=True)]

    @torch.no_grad()
    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Mean over a shard of what the head sees; fp32 [width]."""
        return self.mean_in_batches(self.encode(examples), self._hidden)

    def logits(self, batch: list[Classified]) -> torch.Tensor:
        return expanded(self.module["head"](self._hidden(batch))).float()

    def _hidden(self, batch: list[Classified]) -> torch.Tensor:
        ids, mask = text.pad([list(e.ids) for e in batch], self.device)
        body = self.module["body"]
        if self.config.is_encoder_decoder:
            start = torch.full_like(ids[:, :1], self.config.decoder_start_token_id)
            out = body(
                input_ids=ids, attention_mask=mask, decoder_input_ids=start, output_hidden_states=True, use_cache=False
            )
            return out.decoder_hidden_states[-1][:, 0]
        hidden = body(input_ids=ids, use_cache=False).last_hidden_state
        return hidden[torch.arange(len(batch), device=self.device), mask.sum(1) - 1]


def _head(module: Any, tokenizer: Any, label_set: LabelSet, spec: ModelSpec) -> nn.Linear:
    rows = module.get_output_embeddings().weight.detach().float()
    if spec.head == "fresh":
        return fresh_head(rows.shape[1], len(label_set.labels), bias=False)
    head = nn.Linear(rows.shape[1], len(label_set.labels), bias=False)
    ids = [tokenizer(label, add_special_tokens=False).input_ids for label in label_set.captions]
    scale = module.config.d_model**-0.5 if getattr(module.config, "scale_decoder_outputs", False) else 1.0  # as T5's LM head
    head.weight.data.copy_(torch.stack([rows[one].mean(0) for one in ids]) * scale)
    return head
