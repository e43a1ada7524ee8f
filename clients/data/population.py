"""The population of a run: who may ever take part, the label sets and which examples are whose, written down at the start.

Loaders that are given a population infer nothing from the data again: not who is a client, not what the labels are, not how
a client's rows are split. They look for the examples that are written down, wherever they stand in the source now. So
everything still works, with the same digests, on a source from which the rows of the forgotten are gone.

An example is known by its key, a digest of its content. The keys of a client are deleted when it is forgotten; its name
stays, since the population is public.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from pydantic import Field

from clients.data.shards import SIDES, LabelSet, Shard, Sides
from clients.exact import digest
from clients.strict import Strict


class Recorded(Strict):
    """The keys of a client's examples, by side, in their order."""

    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    @classmethod
    def of(cls, shard: Shard) -> "Recorded":
        """The keys of these examples."""
        return cls(**{side: tuple(example.key for example in shard.side(side)) for side in SIDES})

    @property
    def all(self) -> tuple[str, ...]:
        """Those of all sides."""
        return (*self.train, *self.validation, *self.test)


class Labels(Strict):
    """A label set: labels that are told apart, and the text of each."""

    labels: tuple[str, ...]
    captions: tuple[str, ...]


class Population(Strict):
    """See the module.

    Attributes:
        clients: names of all who may take part, in a fixed order.
        joining: those who join at first.
        unseen: those who never join and are evaluated all the same.
        public: keys of the public examples, in their order, where they stand among the rows that clients are made of; None
            where a family has a public part of its own.
        public_clients: names of those whom the public examples are of, as the data name them.
        label_sets: by the name that examples give; empty where answers are free text.
        pictures, validated, tested, notes: as the manifest of the data had them.
        shards: by client the digest of its shard, as it was at the start.
        examples: by client the keys of its examples, of all who have not been forgotten.
    """

    clients: tuple[str, ...]
    joining: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    public: tuple[str, ...] | None = None
    public_clients: tuple[str, ...] = ()
    label_sets: dict[str, Labels] = Field(default_factory=dict)
    pictures: bool = False
    validated: bool = False
    tested: bool = False
    notes: tuple[str, ...] = ()
    shards: dict[str, str] = Field(default_factory=dict)
    examples: dict[str, Recorded] = Field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Tells it from every other; the order of what it has by name plays no part."""
        facts = dict(self) | {
            "label_sets": {name: [one.labels, one.captions] for name, one in self.label_sets.items()},
            "examples": {client: [keys.train, keys.validation, keys.test] for client, keys in self.examples.items()},
        }
        return digest.of_json(facts)

    @property
    def sides(self) -> Sides:
        """Which sides there are beside training."""
        return Sides(self.validated, self.tested)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Population) and self.digest == other.digest

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "Population":
        """A copy with some fields changed, whose digest is its own: pydantic would copy the digest along."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("digest", None)
        return copied

    def numbered(self, label_set: str, values: Iterable[str | None]) -> dict[str, str]:
        """Class number to label, where a table was rewritten by a tool that knows nothing of classes and left their numbers;
        empty where the values are no numbers, or the labels are."""
        labels = self.label_sets[label_set].labels if label_set in self.label_sets else ()
        if any(label.isdigit() for label in labels) or not all(value is None or value.isdigit() for value in values):
            return {}
        return {str(number): label for number, label in enumerate(labels)}

    def without(self, clients: Iterable[str]) -> "Population":
        """The same once these have been forgotten: their keys are gone, their names are not."""
        gone = set(clients)
        return self.model_copy(update={"examples": {c: keys for c, keys in self.examples.items() if c not in gone}})

    def holding(self, shard: Shard) -> "Population":
        """The same with these examples as a client's: of one who comes back, or of whom some were forgotten."""
        return self.model_copy(update={"examples": {**self.examples, shard.client: Recorded.of(shard)}})


def labels_of(sets: Mapping[str, LabelSet]) -> dict[str, Labels]:
    """Label sets as a population has them."""
    return {name: Labels(labels=one.labels, captions=one.captions) for name, one in sets.items()}
