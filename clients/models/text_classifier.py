"""A language model's body under a classification head, ClAMU's alternative to the LM head (its Tables 4 and 5).

``fresh``: a head drawn at random, tuned with the body. ``labels``: a row per label, the mean of its tokens' rows in the LM
head; it is not tuned, so that the task vector is of the body alone. The head sees the last layer at the prompt's last token
(of an encoder-decoder: the decoder's first position).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from clients.data.dataset import Example, LabelSet
from clients.errors import InputError
from clients.models import text
from clients.models.classifier import HeadedModel, fresh_head
from clients.models.flat import config_facts, tunable
from clients.models.language import text_facts
from clients.models.tangent import expanded
from clients.settings import ModelSpec


@dataclass(frozen=True)
class Classified:
    """Token ids of a prompt and the number of its label."""

    ids: tuple[int, ...]
    label: int
    shortened: bool = field(default=False, compare=False)

    @property
    def tokens(self) -> int:
        return len(self.ids)


class TextClassifier(HeadedModel):
    """A causal or encoder-decoder language model with a classification head instead of its LM head."""

    def __init__(
        self, module: Any, tokenizer: Any, spec: ModelSpec, device: str, label_sets: Mapping[str, LabelSet]
    ) -> None:
        self.tokenizer, self.config = tokenizer, module.config
        self.rows = module.get_input_embeddings().num_embeddings
        (self.label_set,) = label_sets.values()
        head = _head(module, tokenizer, self.label_set, spec)
        words = [config_facts(module.config), *text_facts(tokenizer, spec), list(self.label_set.labels)]
        whole = module.config.is_encoder_decoder  # T5 has no body of its own
        body = nn.ModuleDict({"body": module if whole else module.base_model, "head": head})
        fresh = head if spec.head == "fresh" else None
        frozen = [module.get_output_embeddings(), head if fresh is None else None]
        chosen = tunable(body, spec, frozen, fresh)
        super().__init__(body, chosen, words, spec, device)

    def encode(self, examples: Sequence[Example]) -> list[Classified]:
        return [self._encode(example) for example in examples]

    def _encode(self, example: Example) -> Classified:
        day = self.spec.chat_date if self.spec.chat else None
        closed = self.config.is_encoder_decoder
        ids, shortened = text.encode_question(self.tokenizer, example, self.spec.max_length, day, closed)
        text.check_known(self.tokenizer, ids, self.rows, example.prompt)
        return Classified(tuple(ids), self.label_set.labels.index(example.answer), shortened)

    def shortened(self, examples: Sequence[Example]) -> int:
        return sum(self._encode(example).shortened for example in examples)

    def shown(self, example: Example) -> tuple[str, str]:
        return text.spelt(self.tokenizer, self._encode(example).ids), example.answer

    def logits(self, batch: list[Classified]) -> torch.Tensor:
        return expanded(self.module["head"](self.seen(batch))).float()

    def seen(self, batch: list[Classified]) -> torch.Tensor:
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
    for label, one in zip(label_set.captions, ids, strict=True):
        text.check_known(tokenizer, one, len(rows), label)
        if not one:
            raise InputError(f"model.head: labels needs labels with tokens, and the tokenizer has none for {label!r}")
    shares = [frozenset((number, Fraction(many, len(one))) for number, many in Counter(one).items()) for one in ids]
    text.check_apart(label_set.labels, shares, "their texts have the same tokens, whose order a mean does not tell")
    scale = module.config.d_model**-0.5 if getattr(module.config, "scale_decoder_outputs", False) else 1.0  # as T5's LM head
    head.weight.data.copy_(torch.stack([rows[one].mean(0) for one in ids]) * scale)
    return head
