"""Examples, the shards that clients hold, their three sides, and the labels that answers are told apart by."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, get_args

from clients.exact import digest

KEY_DIGITS = 24

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = get_args(Side)
"""What is trained on, what settings are chosen on, and what is reported."""


@dataclass(frozen=True)
class Example:
    """A prompt and the text that should follow it, or a picture and its class.

    Attributes:
        prompt: text before the answer; empty for pictures.
        answer: text on which the loss is taken, or the label.
        image: a picture as it was stored (PNG, JPEG, ...), else empty.
        label_set: which of the data set's label sets the answer belongs to.
        columns: where values of a row stand in the prompt, (start, stop) each, in order: they may be shortened. Empty: all.
    """

    prompt: str
    answer: str
    image: bytes = field(default=b"", repr=False)
    label_set: str = ""
    columns: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)

    def facts(self) -> dict[str, str]:
        """Everything that it says, as JSON values; a picture by its SHA-256."""
        image = hashlib.sha256(self.image).hexdigest() if self.image else ""
        return {"prompt": self.prompt, "answer": self.answer, "image": image, "label_set": self.label_set}

    @cached_property
    def key(self) -> str:
        """Tells it from examples of other content: 24 hexadecimal digits (96 bits) of a digest of everything it holds."""
        return digest.of_json(self.facts())[:KEY_DIGITS]


@dataclass(frozen=True)
class Shard:
    """One client's examples, by side.

    Attributes:
        group: that the client's rows say it is in, where a column was asked for; no digest knows it.
    """

    client: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()
    group: str = field(default="", compare=False, kw_only=True)

    @property
    def examples(self) -> tuple[Example, ...]:
        """All of them, side by side."""
        return (*self.train, *self.validation, *self.test)

    def side(self, name: Side) -> tuple[Example, ...]:
        found: tuple[Example, ...] = getattr(self, name)
        return found

    def digest(self) -> str:
        return digest.of_json([self.client, *([example.facts() for example in self.side(name)] for name in SIDES)])


class Sides(NamedTuple):
    """Which sides the shards of a data set have beside training.

    Nothing is chosen on what is reported. Where there is one side for both, settings are chosen on a half of the members
    (``halved``), and what is reported of the other half is told apart.
    """

    validated: bool = False
    tested: bool = False

    @property
    def reported(self) -> Side:
        """What scores are of. Without a side of its own that is training, as with TOFU, whose models memorise."""
        return "test" if self.tested else "validation" if self.validated else "train"

    @property
    def chosen_on(self) -> Side:
        """What settings are chosen on."""
        return "validation" if self.validated else self.reported

    @property
    def halved(self) -> bool:
        return self.chosen_on == self.reported


@dataclass(frozen=True)
class LabelSet:
    """Labels that are told apart, and a text for each that a text encoder can read: the label itself, or a class prompt."""

    labels: tuple[str, ...]
    captions: tuple[str, ...]
