"""Examples as token ids: the loss is taken on the answer and the end-of-sequence token after it."""

from dataclasses import dataclass
from typing import Any

import torch

from clients.data.dataset import Example

IGNORED = -100


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt, answer and EOS, and how many of the last ones are the answer's."""

    ids: tuple[int, ...]
    answer: int


def encode(tokenizer: Any, example: Example, max_length: int) -> Encoded:
    """Prompt and answer are tokenized apart, so that the answer's tokens do not depend on the prompt's last letter."""
    prompt = tokenizer(example.prompt).input_ids
    if prompt and prompt[-1] == tokenizer.eos_token_id:  # some tokenizers close every text
        prompt = prompt[:-1]
    answer = [*tokenizer(example.answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    ids = (prompt + answer)[-max_length:]
    return Encoded(tuple(ids), min(len(answer), len(ids) - 1))


def collate(batch: list[Encoded], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and targets, int64 [examples, longest], padded on the right.

    A causal model never looks right, so padding changes nothing before it and needs no attention mask.
    """
    longest = max(len(encoded.ids) for encoded in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    targets = torch.full((len(batch), longest), IGNORED, dtype=torch.long)
    for row, encoded in enumerate(batch):
        tokens = torch.tensor(encoded.ids)
        ids[row, : len(tokens)] = tokens
        targets[row, len(tokens) - encoded.answer : len(tokens)] = tokens[len(tokens) - encoded.answer :]
    return ids.to(device), targets.to(device)
