"""Examples, the shards that clients hold, and the labels that answers are told apart by."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from clients.exact import digest

KEY_DIGITS = 24


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
    """One client's examples. Without a validation part the training pairs themselves are evaluated, as TOFU does."""

    client: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...] = ()

    @property
    def evaluated(self) -> tuple[Example, ...]:
        return self.validation or self.train

    def digest(self) -> str:
        parts = [[example.facts() for example in part] for part in (self.train, self.validation)]
        return digest.of_json([self.client, *parts])


@dataclass(frozen=True)
class LabelSet:
    """Labels that are told apart, and a text for each that a text encoder can read: the label itself, or a class prompt."""

    labels: tuple[str, ...]
    captions: tuple[str, ...]
