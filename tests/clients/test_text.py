import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from clients.data.dataset import Example, fill
from clients.errors import InputError
from clients.models import text
from clients.models.text import IGNORED, Encoded
from clients.work.site import Site


@dataclass(frozen=True)
class Letters:
    """A tokenizer of one token per letter, which may open or close a text with a token of its own."""

    opens: tuple[int, ...] = ()
    closes: tuple[int, ...] = ()
    eos_token_id: int = 0
    unk_token_id: int | None = None

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
        (Letters(opens=(1,)), 5, Encoded((1, 98, 99, 100, 0), 3)),  # the prompt's beginning goes first, not what opens it
        (Letters(opens=(1,)), 4, Encoded((1, 99, 100, 0), 3)),
        (Letters(opens=(1,)), 3, Encoded((1, 99, 0), 2)),  # then the answer's end
        (Letters(), 3, Encoded((0, 99, 0), 2)),
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
            for letter in "x5.\n\t":
                changed = text.encode(tokenizer, Example(example.prompt + letter, example.answer), 999)
                assert changed.ids[-encoded.answer :] == encoded.ids[-encoded.answer :]
            spaced = text.encode(tokenizer, Example(example.prompt + " ", example.answer), 999)
            assert tokenizer.decode(spaced.ids[-spaced.answer : -1]) == " " + example.answer
            assert spaced.ids[: -spaced.answer] == encoded.ids[: -encoded.answer]


def test_an_answer_that_does_not_fit_at_all_is_refused() -> None:
    with pytest.raises(InputError, match=r"model\.max_length: 2 tokens are too few for 'ab': .* takes 1, .* at least 2"):
        text.encode(Letters(opens=(1,)), Example("ab", "cd"), 2)


def test_truncation_keeps_the_answer_and_the_fixed_words(site: Site) -> None:
    """Authors' names give way, letter by letter; then nothing does."""
    tokenizer = site.model.tokenizer
    example = fill("Q:{question} A:{answer}", {"question": "Who is the oldest author of Crowle?", "answer": "an owl"})
    assert example.columns == ((2, 37),)
    whole = text.encode(tokenizer, example, 999)
    fixed = len(tokenizer.encode("Q: A:"))
    seen = set()
    for length in range(fixed + whole.answer, len(whole.ids) + 1):
        found = text.encode(tokenizer, example, length)
        assert found.ids[-found.answer :] == whole.ids[-whole.answer :]
        assert len(found.ids) <= length
        prompt = tokenizer.decode(found.ids[: -found.answer])
        assert prompt.startswith("Q:")
        assert prompt.endswith(" A:")
        assert "Who is the oldest author of Crowle?".endswith(prompt[2:-3])
        assert found.shortened == (length < len(whole.ids))
        seen.add(prompt)
    assert "Q: A:" in seen
    assert len(seen) > 5
    with pytest.raises(InputError, match=r"max_length: too few tokens for 'Q:Who is the oldest .*takes \d+, and 2 are left"):
        text.encode(tokenizer, example, 99, room=2)


@given(
    st.lists(st.tuples(st.text("ab {}", max_size=5), st.text("xyz", max_size=9)), min_size=1, max_size=4), st.integers(0, 30)
)
def test_columns_give_way_the_longest_first(parts: list[tuple[str, str]], room: int) -> None:
    """Letters: the most of each value that can be kept alike, counted one by one."""
    template = "".join(fixed.replace("{", "{{").replace("}", "}}") + f"{{c{i}}}" for i, (fixed, _) in enumerate(parts))
    example = fill(template + ".{answer}", {f"c{i}": value for i, (_, value) in enumerate(parts)} | {"answer": "n"})
    assert example.prompt == "".join(fixed + value for fixed, value in parts) + "."
    assert [example.prompt[start:stop] for start, stop in example.columns] == [value for _, value in parts]
    fixed = sum(len(fixed) for fixed, _ in parts) + 1
    if fixed > room:
        with pytest.raises(InputError, match=rf"takes {fixed}, and {room} are left"):
            text.encode_question(Letters(), example, room)
        return
    kept = max(n for n in range(10) if fixed + sum(min(n, len(value)) for _, value in parts) <= room)
    expected = "".join(fixed + value[len(value) - min(kept, len(value)) :] for fixed, value in parts) + "."
    ids, shortened = text.encode_question(Letters(), example, room)
    assert "".join(map(chr, ids)) == expected
    assert shortened == (expected != example.prompt)


def test_where_columns_stand_decides_nothing_but_what_is_cut() -> None:
    one = fill("Text:{text}\nLabel:{label}", {"text": "a b", "label": "c"})
    other = Example("Text:a b\nLabel:", "c")
    assert one.columns == ((5, 8),)
    assert (one, one.key, one.facts()) == (other, other.key, other.facts())
    filled = fill("{a}{{}}{b}|{c}", {"a": 3.14159, "b": "x", "c": "y"})
    assert filled.prompt == "3.14159{}x|"
    assert filled.columns == ((0, 7), (9, 10))


SENTENCES = ("good", "rather bad, all in all", "it's 5 o'clock", "日本語", "so-so", "Ünlü")


@pytest.mark.parametrize("name", ["gpt2-tokenizer", "stories260K"])
@pytest.mark.parametrize("blank", ["", " "])
def test_answers_are_tokens_of_running_text(shared_folder: Path, name: str, blank: str) -> None:
    """A byte-pair tokenizer with blanks before words, and one in the manner of sentencepiece."""
    if not (shared_folder / "models" / name).is_dir():
        pytest.skip(f"no {name}")
    tokenizer = AutoTokenizer.from_pretrained(shared_folder / "models" / name)
    for answer in SENTENCES:
        for prompt in ("Sentiment:", "A film, that was long.\nSentiment:", "How was it? (1)"):
            whole = tokenizer(prompt + blank + answer, add_special_tokens=False).input_ids
            assert list(text.encode(tokenizer, Example(prompt + blank, answer), 99).ids) == [*whole, tokenizer.eos_token_id]
    apart = text.encode(tokenizer, Example("word" + blank, "good"), 99)  # where running text has no boundary, one is made
    assert tokenizer.decode(apart.ids[-apart.answer : -1]).strip() == "good"


def test_tokens_beyond_the_rows_of_a_model_are_named(site: Site) -> None:
    tokenizer = site.model.tokenizer
    ids = tokenizer.encode("an owl")
    text.check_known(tokenizer, ids, max(ids) + 1, "an owl")
    most, worst = max(ids), re.escape(tokenizer.convert_ids_to_tokens(max(ids)))
    with pytest.raises(InputError, match=rf"token '{worst}' has number {most}, and the model only {most} .* in 'an owl'"):
        text.check_known(tokenizer, ids, max(ids), "an owl")
