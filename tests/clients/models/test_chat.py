"""Chat templates: the same prompt on every day, and what becomes of templates that want to differ."""

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tiny_models import FREE, LABELLED, TEXTS, loaded
from transformers import AutoTokenizer

from clients.data.dataset import Example, Shard
from clients.errors import InputError
from clients.models import chat, text
from clients.settings import TuningSpec
from clients.work import tuning

Folder = Callable[[str], Path]
DAY = date(2023, 1, 5)
HEADER = "{% if add_generation_prompt %}[assistant]{% endif %}"
TURNS = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}" + HEADER
INST = "{% for m in messages %}{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else m.content }}{% endfor %}"
LLAMA_31 = "{% if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}Today: {{ date_string }}\n"
LLAMA_32 = "{% set date_string = strftime_now('%d %b %Y') %}Today: {{ date_string }}\n"
SECONDS = "Today: {{ strftime_now('%H%M%S') }} "


@pytest.fixture
def talking(folder_of_kind: Folder, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the tiny GPT-2 whose tokenizer has this chat template."""

    def make(template: str) -> Path:
        folder = tmp_path / f"talks-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(folder_of_kind("gpt2"), folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (LLAMA_31, "Today: 05 Jan 2023\n"),
        (LLAMA_32, "Today: 05 Jan 2023\n"),
        (SECONDS, "Today: 000000 "),
        ("{{ strftime_now('%A, %B %d %Y') }}", "Thursday, January 05 2023"),
    ],
)
def test_the_day_is_the_scenarios(talking: Callable[[str], Path], head: str, wanted: str) -> None:
    model: Any = loaded(talking(head + TURNS), LABELLED, chat=True, chat_date="2023-01-05")
    (encoded,) = model.encode(TEXTS[:1])
    read = model.tokenizer.decode(encoded.ids[: -encoded.answer])
    assert read == f"{wanted}[user] {TEXTS[0].prompt}\n[assistant]"


def test_without_a_key_it_is_a_fixed_day(talking: Callable[[str], Path]) -> None:
    """Llama 3.1's own."""
    folder = talking(LLAMA_31 + TURNS)
    model: Any = loaded(folder, LABELLED, chat=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    said = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], add_generation_prompt=True, tokenize=False)
    assert chat.said(model.tokenizer, "x", model.spec.chat_date) == said


def test_the_rendered_form_is_in_the_recipe(talking: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = talking(LLAMA_32 + TURNS)
    shard, spec = Shard("a", TEXTS), TuningSpec()

    def recipe(**options: Any) -> str:
        return tuning.recipe_digest(loaded(folder, LABELLED, **options), shard, "plain", spec, 1)

    day = {"chat": True, "chat_date": "2023-01-05"}
    assert recipe(**day) == recipe(**day) != recipe(chat=True)
    assert recipe(chat_date="2023-01-05") == recipe()  # no chat, no day
    assert loaded(folder, LABELLED, head="fresh", **day).digest != loaded(folder, LABELLED, head="fresh", chat=True).digest
    before = recipe(**day)
    render = chat.render
    monkeypatch.setattr(chat, "render", lambda *args, **more: render(*args, **more) + "!")  # another version of a library
    chat.before_said.cache_clear()
    assert recipe(**day) != before


@pytest.mark.parametrize("random", ["{{ range(99999) | random }}", "{{ ['a', 'b'] | random }}", "{{ lipsum(n=1) }}"])
def test_a_template_that_is_never_the_same_is_refused(talking: Callable[[str], Path], random: str) -> None:
    with pytest.raises(InputError, match=r"model\.chat: the chat template of .* does not always write the same, but '"):
        loaded(talking(random + TURNS), LABELLED, chat=True)
    loaded(talking(random + TURNS), LABELLED)  # nobody renders it


def test_a_template_that_fails_is_refused(talking: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match=r"model\.chat: .* does not take a user's message: only systems speak"):
        loaded(talking("{{ raise_exception('only systems speak') }}"), FREE, chat=True)


@pytest.mark.parametrize(
    ("template", "blank"),
    [
        (TURNS, " "),
        (TURNS.replace("[assistant]", "[assistant] "), " "),  # what opens the answer ends in a blank
        (INST.replace("else", "else ' ' +"), " "),
        (INST, ""),
        ("{% for m in messages %}{{ m.role }}:\n{{ m.content }}\n{% endfor %}" + HEADER.replace("]", ":\n"), ""),
    ],
)
def test_the_answer_follows_the_header_as_the_template_has_it(
    talking: Callable[[str], Path], template: str, blank: str
) -> None:
    model: Any = loaded(talking(template), LABELLED, chat=True)
    example = Example("How was it? ", "good")
    (encoded,) = model.encode([example])
    assert model.tokenizer.decode(encoded.ids[-encoded.answer : -1]) == blank + "good"
    assert not model.tokenizer.decode(encoded.ids[: -encoded.answer]).endswith(" ")
    assert list(encoded.ids[-encoded.answer : -1]) == model.tokenizer.encode(blank + "good")


def test_a_long_chat_keeps_its_headers(talking: Callable[[str], Path]) -> None:
    model: Any = loaded(talking(LLAMA_32 + TURNS), LABELLED, chat=True, max_length=90)
    example = Example("Review:" + "what a day it was. " * 20 + "\nLabel:", "good", columns=((7, 7 + 19 * 20),))
    (encoded,) = model.encode([example])
    read = model.tokenizer.decode(encoded.ids[: -encoded.answer])
    assert read.startswith("Today: 26 Jul 2024\n[user] Review:")
    assert read.endswith("what a day it was. \nLabel:\n[assistant]")
    assert len(encoded.ids) <= 90
    assert model.shortened([example, TEXTS[0]]) == 1
    room = model._room(LABELLED.label_sets[""].labels, model._before(example))
    assert tuple(model._prompt(example, room)) == encoded.ids[: -encoded.answer]  # scored as trained
    with pytest.raises(InputError, match=r"too few tokens for 'Review:what a day .* takes \d+, and \d+ are left"):
        loaded(talking(LLAMA_32 * 3 + TURNS), LABELLED, chat=True, max_length=40).encode([example])
    assert text.encode_prompt(model.tokenizer, "x") != text.encode_prompt(model.tokenizer, "x", DAY)
