"""Shards: the data of each client, as a loader hands it over."""

import string
from dataclasses import asdict, dataclass

from clients import digest
from clients.errors import InputError


@dataclass(frozen=True)
class Example:
    """A prompt and the text that should follow it; the loss is taken on the answer."""

    prompt: str
    answer: str


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
        return digest.of_json(asdict(self))


@dataclass(frozen=True)
class Dataset:
    """All shards of a scenario.

    Attributes:
        shards: one per client, in a fixed order.
        public: texts that belong to no client, on which the embedded base model is pretrained.
        labels: label texts to rank; empty where answers are free text.
        notes: lines for the user, as how many clients were left out and why.
    """

    shards: tuple[Shard, ...]
    public: tuple[Example, ...]
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def clients(self) -> tuple[str, ...]:
        return tuple(shard.client for shard in self.shards)

    @property
    def metric(self) -> str:
        return "accuracy" if self.labels else "answer_probability"

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
