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

    @property
    def tokens(self) -> int:
        return len(self.ids)


def encode(tokenizer: Any, example: Example, max_length: int, chat: bool = False, closed: bool = False) -> Encoded:
    """Prompt and answer are tokenized apart, so that the answer's tokens do not depend on the prompt's last letter."""
    prompt = encode_prompt(tokenizer, example.prompt, chat, closed)
    answer = encode_answer(tokenizer, example.answer)
    ids = (prompt + answer)[-max_length:]
    return Encoded(tuple(ids), min(len(answer), len(ids) - 1))


def encode_prompt(tokenizer: Any, prompt: str, chat: bool = False, closed: bool = False) -> list[int]:
    """Token ids of a prompt.

    Args:
        chat: put it into the tokenizer's chat template, as what a user says.
        closed: keep the EOS that some tokenizers put after every text; an encoder expects it, a decoder must not see it.
    """
    if chat:
        said = [{"role": "user", "content": prompt}]
        whole = tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
        return list(tokenizer(whole, add_special_tokens=False).input_ids)
    ids = list(tokenizer(prompt).input_ids)
    if ids and ids[-1] == tokenizer.eos_token_id and not closed:
        ids = ids[:-1]
    return ids or [tokenizer.eos_token_id]  # something has to stand before the first token that is predicted


def encode_answer(tokenizer: Any, answer: str) -> list[int]:
    """Token ids of an answer and EOS."""
    return [*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def collate(batch: list[Encoded], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and targets, int64 [examples, longest], padded on the right.

    A causal model never looks right, so padding changes nothing before it and needs neither mask nor pad token.
    """
    longest = max(len(encoded.ids) for encoded in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    targets = torch.full((len(batch), longest), IGNORED, dtype=torch.long)
    for row, encoded in enumerate(batch):
        tokens = torch.tensor(encoded.ids)
        ids[row, : len(tokens)] = tokens
        targets[row, len(tokens) - encoded.answer : len(tokens)] = tokens[len(tokens) - encoded.answer :]
    return ids.to(device), targets.to(device)


def pad(rows: list[list[int]], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, int64 [rows, longest], padded with 0 on the right; the mask is 1 where a token is."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids.to(device), mask.to(device)
