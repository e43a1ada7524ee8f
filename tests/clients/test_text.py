from dataclasses import dataclass
from typing import Any

import pytest
import torch

from clients.data.dataset import Example
from clients.models import text
from clients.models.text import IGNORED, Encoded
from clients.work.site import Site


@dataclass(frozen=True)
class Letters:
    """A tokenizer of one token per letter, which may open or close a text with a token of its own."""

    opens: tuple[int, ...] = ()
    closes: tuple[int, ...] = ()
    eos_token_id: int = 0

    def __call__(self, words: str, add_special_tokens: bool = True) -> Any:
        ids = [ord(letter) for letter in words]
        result = type("Tokens", (), {})()
        result.input_ids = [*self.opens, *ids, *self.closes] if add_special_tokens else ids
        return result


@pytest.mark.parametrize(
    ("tokenizer", "length", "expected"),
    [
        (Letters(), 99, Encoded((97, 98, 99, 100, 0), 3)),
        (Letters(opens=(1,)), 99, Encoded((1, 97, 98, 99, 100, 0), 3)),
        (Letters(closes=(0,)), 99, Encoded((97, 98, 99, 100, 0), 3)),
        (Letters(opens=(1,), closes=(0,)), 99, Encoded((1, 97, 98, 99, 100, 0), 3)),
        (Letters(opens=(1,)), 5, Encoded((97, 98, 99, 100, 0), 3)),
        (Letters(opens=(1,)), 4, Encoded((98, 99, 100, 0), 3)),  # the prompt's first tokens go first
        (Letters(opens=(1,)), 3, Encoded((99, 100, 0), 2)),  # the answer's own first token has nothing before it
        (Letters(opens=(1,)), 2, Encoded((100, 0), 1)),
    ],
)
def test_encode_by_hand(tokenizer: Letters, length: int, expected: Encoded) -> None:
    assert text.encode(tokenizer, Example("ab", "cd"), length) == expected


def test_empty_prompts_and_answers() -> None:
    assert text.encode(Letters(), Example("", "cd"), 99) == Encoded((0, 99, 100, 0), 3)  # EOS stands in for a prompt
    assert text.encode(Letters(opens=(1,)), Example("", "cd"), 99) == Encoded((1, 99, 100, 0), 3)
    assert text.encode(Letters(), Example("ab", ""), 99) == Encoded((97, 98, 0), 1)


def test_collate_by_hand() -> None:
    ids, targets = text.collate([Encoded((5, 6, 7, 8), 2), Encoded((9, 4), 1), Encoded((3, 2, 1), 0)], "cpu")
    x = IGNORED
    assert ids.tolist() == [[5, 6, 7, 8], [9, 4, 0, 0], [3, 2, 1, 0]]
    assert targets.tolist() == [[x, x, 7, 8], [x, 4, x, x], [x, x, x, x]]
    assert ids.dtype == targets.dtype == torch.int64


def test_the_answer_ends_with_eos_and_does_not_depend_on_the_prompt(site: Site) -> None:
    tokenizer = site.model.tokenizer
    for shard in site.shards():
        for example in shard.train:
            (encoded,) = site.model.encode((example,))
            assert encoded.ids[-1] == tokenizer.eos_token_id
            assert tokenizer.decode(encoded.ids[-encoded.answer : -1]) == example.answer
            assert tokenizer.decode(encoded.ids[: -encoded.answer]) == example.prompt
            changed = text.encode(tokenizer, Example(example.prompt + " ", example.answer), 999)
            assert changed.ids[-encoded.answer :] == encoded.ids[-encoded.answer :]


def test_truncation_keeps_the_answer(site: Site) -> None:
    example = site.shard("u0").train[0]
    whole = text.encode(site.model.tokenizer, example, 999)
    for length in range(whole.answer + 1, len(whole.ids) + 1):
        assert text.encode(site.model.tokenizer, example, length) == Encoded(whole.ids[-length:], whole.answer)
