"""Examples as token ids: the loss is taken on the answer and the end-of-sequence token after it."""

from dataclasses import dataclass
from functools import lru_cache
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
        return list(_ids(tokenizer, whole, special=False))
    ids = list(_ids(tokenizer, prompt, special=True))
    if ids and ids[-1] == tokenizer.eos_token_id and not closed:
        ids = ids[:-1]
    return ids or [tokenizer.eos_token_id]  # something has to stand before the first token that is predicted


def encode_answer(tokenizer: Any, answer: str) -> list[int]:
    """Token ids of an answer and EOS."""
    return [*_ids(tokenizer, answer, special=False), tokenizer.eos_token_id]


@lru_cache(maxsize=1 << 12)
def _ids(tokenizer: Any, text: str, special: bool) -> tuple[int, ...]:
    """Kept, since the same texts are scored under many models in a row: reading them anew is a fifth of that work."""
    return tuple(tokenizer(text, add_special_tokens=special).input_ids)


def collate(batch: list[Encoded], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and targets, int64 [examples, longest], padded on the right.

    A causal model never looks right, so padding changes nothing before it and needs neither mask nor pad token.
    """
    longest = max(len(encoded.ids) for encoded in batch)
    ids, targets = [], []
    for encoded in batch:  # rows as lists, made tensors at once: many small tensors take longer than a tiny model's layer
        after = longest - len(encoded.ids)
        before = len(encoded.ids) - encoded.answer
        ids.append([*encoded.ids, *[0] * after])
        targets.append([*[IGNORED] * before, *encoded.ids[before:], *[IGNORED] * after])
    return torch.tensor(ids, device=device), torch.tensor(targets, device=device)


def pad(rows: list[list[int]], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, int64 [rows, longest], padded with 0 on the right; the mask is 1 where a token is."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids.to(device), mask.to(device)
