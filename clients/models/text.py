"""Examples as token ids: the loss is taken on the answer and the end-of-sequence token after it.

Prompt and answer are tokenized apart, so that an answer's tokens are the same after every prompt, yet as they are in running
text: a blank that ends the prompt goes to the answer (``Ġgood``, ``▁good``), and without one no token has a blank in it.

A text that is too long loses the beginnings of its columns, the longest first; what a template has around them, what opens
a text and a chat's headers stay. The beginnings, since what is read last before the answer is next to it.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any

import torch

from clients.data.dataset import Example
from clients.errors import InputError
from clients.models.chat import before_said, said

IGNORED = -100
BEFORE = ("\n", ":")
"""What a text is put after to see its tokens in running text; a tokenizer may drop or not know one of them."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt, answer and EOS, and how many of the last ones are the answer's."""

    ids: tuple[int, ...]
    answer: int
    shortened: bool = field(default=False, compare=False)

    @property
    def tokens(self) -> int:
        return len(self.ids)


def encode(
    tokenizer: Any,
    example: Example,
    max_length: int,
    chat: date | None = None,
    closed: bool = False,
    room: int | None = None,
    limit: str = "model.max_length",
) -> Encoded:
    """An example in at most ``max_length`` tokens.

    Columns give way first. Where an answer of free text does not fit beside the fixed words alone, its end is left out.

    Args:
        chat, closed: see ``encode_prompt``.
        room: tokens of the prompt where answers are labels, what the longest one leaves; None: what the answer leaves.
        limit: the scenario's key for ``max_length``, for errors.

    Raises:
        InputError: the prompt's fixed words leave no room for its columns or for the answer.
    """
    answer = encode_answer(tokenizer, example.answer, before_answer(tokenizer, example.prompt, chat, closed))
    if room is not None:
        prompt, shortened = encode_question(tokenizer, example, room, chat, closed)
        return Encoded((*prompt, *answer), len(answer), shortened)
    ids, shortened = _fitted(tokenizer, example.prompt, example.columns, max_length - len(answer), chat, closed)
    left = max_length - len(ids)
    if left < min(2, len(answer)):
        raise InputError(
            f"{limit}: {max_length} tokens are too few for {short(example.prompt)!r}: what stands around its columns takes "
            f"{len(ids)}, and an answer at least {min(2, len(answer))}"
        )
    if len(answer) > left:
        answer, shortened = [*answer[: left - 1], answer[-1]], True
    return Encoded((*ids, *answer), len(answer), shortened)


def encode_question(
    tokenizer: Any, example: Example, room: int, chat: date | None = None, closed: bool = False
) -> tuple[list[int], bool]:
    """Token ids of an example's prompt, at most ``room``, and whether its columns were shortened for that.

    Raises:
        InputError: the prompt's fixed words alone take more.
    """
    ids, shortened = _fitted(tokenizer, example.prompt, example.columns, room, chat, closed)
    if len(ids) > room:
        raise InputError(
            f"model.max_length: too few tokens for {short(example.prompt)!r}: what stands around its columns takes "
            f"{len(ids)}, and {max(room, 0)} are left for the prompt"
        )
    return list(ids), shortened


def encode_prompt(tokenizer: Any, prompt: str, chat: date | None = None, closed: bool = False) -> list[int]:
    """Token ids of a prompt, without the blank that ends it.

    Args:
        chat: put it into the tokenizer's chat template, as what a user says on this day.
        closed: keep the EOS that some tokenizers put after every text; an encoder expects it, a decoder must not see it.
    """
    if chat is not None:
        return list(_ids(tokenizer, said(tokenizer, prompt.removesuffix(" "), chat).removesuffix(" "), special=False))
    ids = list(_ids(tokenizer, prompt.removesuffix(" "), special=True))
    if ids and ids[-1] == tokenizer.eos_token_id and not closed:
        ids = ids[:-1]
    return ids or [tokenizer.eos_token_id]  # something has to stand before the first token that is predicted


def before_answer(tokenizer: Any, prompt: str, chat: date | None = None, closed: bool = False) -> str | None:
    """What an answer is written after: a blank or nothing, in running text; None where it is a text of its own.

    In a chat it is the template that has a blank there, or none.
    """
    if closed:
        return None
    if chat is not None:
        return before_said(tokenizer, chat)
    return " " if prompt.endswith(" ") else ""


def encode_answer(tokenizer: Any, answer: str, before: str | None = "") -> list[int]:
    """Token ids of an answer and EOS; ``before`` is that of ``before_answer``."""
    return [*_answer_ids(tokenizer, answer, before), tokenizer.eos_token_id]


@lru_cache(maxsize=1 << 12)
def _answer_ids(tokenizer: Any, answer: str, before: str | None) -> tuple[int, ...]:
    """Kept, since the same texts are scored under many models in a row: reading them anew is a fifth of that work."""
    if before is not None:
        for anchor in BEFORE:
            start, whole = (_ids(tokenizer, text, special=False) for text in (anchor, anchor + before + answer))
            if start and tokenizer.unk_token_id not in start and whole[: len(start)] == start:
                return whole[len(start) :]
    return _ids(tokenizer, (before or "") + answer, special=False)


def _ids(tokenizer: Any, text: str, special: bool) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=special).input_ids)


# -- long texts -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 12)
def _fitted(
    tokenizer: Any, prompt: str, columns: tuple[tuple[int, int], ...], room: int, chat: date | None, closed: bool
) -> tuple[tuple[int, ...], bool]:
    """Token ids of a prompt, at most ``room`` if its fixed words allow it, and whether columns were shortened.

    Kept for the reason that answers are. The most characters that each column may keep are found by halving.
    """
    found = encode_prompt(tokenizer, prompt, chat, closed)
    if len(found) <= room:
        return tuple(found), False
    columns = columns or ((0, len(prompt)),)
    fits, too_many = 0, max(stop - start for start, stop in columns)
    found = encode_prompt(tokenizer, cut(prompt, columns, 0), chat, closed)
    while len(found) <= room and too_many - fits > 1:
        middle = (fits + too_many) // 2
        ids = encode_prompt(tokenizer, cut(prompt, columns, middle), chat, closed)
        if len(ids) <= room:
            fits, found = middle, ids
        else:
            too_many = middle
    return tuple(found), True


def cut(prompt: str, columns: Sequence[tuple[int, int]], kept: int) -> str:
    """The prompt with the last ``kept`` characters of each column; what is not in a column stays."""
    pieces, at = [], 0
    for start, stop in columns:
        pieces += [prompt[at:start], prompt[max(start, stop - kept) : stop]]
        at = stop
    return "".join([*pieces, prompt[at:]])


def spelt(tokenizer: Any, ids: Sequence[int]) -> str:
    """Tokens as text, special ones too."""
    found: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return found


def short(text: str) -> str:
    """A text as errors name it."""
    return text if len(text) <= 80 else f"{text[:50]}…{text[-29:]}"


# -- what a model knows -----------------------------------------------------------------------------------------------


def check_known(tokenizer: Any, ids: Sequence[int], rows: int, text: str) -> None:
    """Whether a model with so many rows of embeddings has one for each id.

    Raises:
        InputError: it has not.
    """
    if max(ids, default=0) >= rows:
        number = next(number for number in ids if number >= rows)
        raise InputError(
            f"model.base: the tokenizer's token {tokenizer.convert_ids_to_tokens(number)!r} has number {number}, and the "
            f"model only {rows} rows of embeddings; it is in {short(text)!r}. Take the model's tokenizer, or leave it out"
        )


def check_apart(labels: Sequence[str], keys: Sequence[Hashable], reason: str) -> None:
    """Whether no two labels have the same key.

    Raises:
        InputError: two have; they are named.
    """
    first: dict[Hashable, str] = {}
    for label, key in zip(labels, keys, strict=True):
        if key in first:
            raise InputError(
                f"data: the labels {first[key]!r} and {label!r} cannot be told apart: {reason}. Rename one, or take another "
                "model.base"
            )
        first[key] = label


# -- batches ----------------------------------------------------------------------------------------------------------


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
