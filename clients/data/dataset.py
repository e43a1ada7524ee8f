"""A data set as a loader hands it over, and how a template makes an example of a row."""

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from clients.data.manifest import Manifest
from clients.data.shards import Example, LabelSet, Shard
from clients.data.source import ShardRef, found
from clients.errors import InputError

__all__ = ["Dataset", "Example", "LabelSet", "Shard", "columns", "fill", "split_template"]


@dataclass(frozen=True)
class Dataset:
    """All shards of a scenario: a source that lacks nobody.

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

    @cached_property
    def manifest(self) -> Manifest:
        """What may be known of it without a client's data."""
        return Manifest(
            clients=tuple(shard.client for shard in self.shards),
            label_sets=self.label_sets,
            public=self.public,
            pictures=any(example.image for shard in self.shards[:1] for example in shard.train),
            validated=any(shard.validation for shard in self.shards),
            notes=self.notes,
        )

    def shard(self, ref: ShardRef | str) -> Shard:
        """A client's data; InputError if they are not here."""
        return found(self._by_client, ref)

    @cached_property
    def _by_client(self) -> dict[str, Shard]:
        return {shard.client: shard for shard in self.shards}


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
