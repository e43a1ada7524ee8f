"""Examples, the shards that clients hold, and the labels that answers are told apart by."""

import hashlib
from dataclasses import asdict, dataclass, field

from clients.exact import digest


@dataclass(frozen=True)
class Example:
    """A prompt and the text that should follow it, or a picture and its class.

    Attributes:
        prompt: text before the answer; empty for pictures.
        answer: text on which the loss is taken, or the label.
        image: a picture as it was stored (PNG, JPEG, ...), else empty.
        label_set: which of the data set's label sets the answer belongs to.
    """

    prompt: str
    answer: str
    image: bytes = field(default=b"", repr=False)
    label_set: str = ""

    def facts(self) -> dict[str, str]:
        """Everything it holds, as JSON values; a picture by its SHA-256."""
        return asdict(self) | {"image": hashlib.sha256(self.image).hexdigest() if self.image else ""}


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
