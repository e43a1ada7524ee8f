"""A prompt in the tokenizer's chat template, rendered for a fixed day, so that it is the same tomorrow.

Templates ask for the day by ``strftime_now(format)`` (Llama 3.2, Mistral, Granite) or ``date_string`` (Llama 3.1); both are
answered with the first moment of the day that the scenario names.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from transformers.utils import chat_template_utils

from clients.errors import InputError

ASKED = {"role": "user", "content": "How are you?"}
SAID = {"role": "assistant", "content": "Fine."}
RENDERINGS = 16


def render(tokenizer: Any, messages: Sequence[dict[str, str]], day: date, generation: bool = True) -> str:
    """Messages as the template has them; ``generation``: with the header of the assistant's turn, which is to follow."""
    with _clock_at(day):
        return tokenizer.apply_chat_template(
            list(messages),
            add_generation_prompt=generation,
            tokenize=False,
            date_string=datetime.combine(day, time()).strftime("%d %b %Y"),
        )


@contextmanager
def _clock_at(day: date) -> Iterator[None]:
    """Inside the block it is this day to templates. The library takes no functions for them, so its clock is set."""
    clock = SimpleNamespace(now=lambda *_: datetime.combine(day, time()))
    before, chat_template_utils.datetime = chat_template_utils.datetime, clock
    try:
        yield
    finally:
        chat_template_utils.datetime = before


def said(tokenizer: Any, prompt: str, day: date) -> str:
    """A prompt as what a user says, and the header of the answer."""
    return render(tokenizer, [{"role": "user", "content": prompt}], day)


@lru_cache(maxsize=8)
def before_said(tokenizer: Any, day: date) -> str:
    """The blank that the template has between an assistant's header and what it says, if it has one."""
    header = render(tokenizer, [ASKED], day)
    if header.endswith(" "):
        return " "
    try:
        whole = render(tokenizer, [ASKED, SAID], day, generation=False)
    except Exception:  # a template may take no answers
        return ""
    return " " if whole.startswith(f"{header} {SAID['content']}") else ""


def facts(tokenizer: Any, day: date) -> list[str]:
    """What decides how prompts are rendered: the day, and a message as it comes out."""
    return [day.isoformat(), render(tokenizer, [ASKED], day), before_said(tokenizer, day)]


def check(tokenizer: Any, day: date, name: str) -> None:
    """Whether the template can be rendered, and always gives the same.

    Args:
        name: the model's, for errors.

    Raises:
        InputError: it cannot, or does not.
    """
    try:
        found = sorted({render(tokenizer, [ASKED], day) for _ in range(RENDERINGS)})
    except Exception as error:  # whatever a template raises
        raise InputError(f"model.chat: the chat template of {name} does not take a user's message: {error}") from error
    if len(found) > 1:
        raise InputError(
            f"model.chat: the chat template of {name} does not always write the same, but {found[0][-120:]!r} or "
            f"{found[1][-120:]!r}; what is learned from such prompts cannot be derived again. Set model.chat: false"
        )
