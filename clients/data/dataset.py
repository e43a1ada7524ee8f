"""Shards: the data of each client, as a loader hands it over."""

import hashlib
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from clients.errors import InputError
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


@dataclass(frozen=True)
class Dataset:
    """All shards of a scenario.

    Attributes:
        shards: one per client, in a fixed order.
        public: examples that belong to no client, on which an embedded base model is pretrained.
        label_sets: by the name that examples give; empty where answers are free text.
        notes: lines for the user, as how many clients were left out and why.
    """

    shards: tuple[Shard, ...]
    public: tuple[Example, ...]
    label_sets: Mapping[str, LabelSet] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def clients(self) -> tuple[str, ...]:
        return tuple(shard.client for shard in self.shards)

    @property
    def metric(self) -> str:
        return "accuracy" if self.label_sets else "answer_probability"

    @property
    def pictures(self) -> bool:
        """Whether examples are pictures."""
        return any(example.image for shard in self.shards[:1] for example in shard.train)

    def shard(self, client: str) -> Shard:
        for shard in self.shards:
            if shard.client == client:
                return shard
        raise KeyError(client)


def split_template(template: str) -> tuple[str, str]:
    """A template's prompt part and the name of its last column, the answer's."""
    prompt, _, answer = template.rpartition("{")
    return prompt, answer.removesuffix("}")


def columns(template: str) -> list[str]:
    """Names of the columns in a template, the answer's last."""
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


def fill(template: str, row: dict[str, object]) -> Example:
    """The example that a template makes of a row.

    Raises:
        InputError: the template names a column that the row does not have.
    """
    prompt, answer = split_template(template)
    try:
        return Example(prompt.format_map(row), str(row[answer]))
    except KeyError as error:
        raise InputError(f"data.prompt: there is no column {error}; the columns are {', '.join(row)}") from error
