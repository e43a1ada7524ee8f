"""A data set as a loader hands it over, and how a template makes an example of a row."""

import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from clients.data import telling
from clients.data.findings import Findings, by_client
from clients.data.manifest import Manifest
from clients.data.population import Population, Recorded, labels_of
from clients.data.shards import Example, LabelSet, Shard, Sides
from clients.data.source import ShardRef, found
from clients.errors import InputError

__all__ = ["Dataset", "Example", "LabelSet", "Shard", "columns", "fill", "recorded", "refound", "split_template", "written"]


@dataclass(frozen=True)
class Dataset:
    """The shards of a scenario: all of them, or under a population those that are whole at the source.

    Attributes:
        shards: one per client, in a fixed order.
        public: examples that belong to no client, on which an embedded base model is pretrained.
        label_sets: by the name that examples give; empty where answers are free text.
        notes: lines for the user, as how many clients were left out and why.
        public_clients: names of those whom the public examples are of, where clients are made of the same rows.
        ordered: client to its usable rows as examples, in the source's order; None where that is side by side.
        findings: under a population, what was found of it.
        rows: how many were read of the source, those too that were left out; 0 where a family does not say.
    """

    shards: tuple[Shard, ...]
    public: tuple[Example, ...]
    label_sets: Mapping[str, LabelSet] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    public_clients: tuple[str, ...] = field(default=(), compare=False)
    ordered: Callable[[str], Iterable[Example]] | None = field(default=None, compare=False, repr=False)
    findings: Findings | None = field(default=None, compare=False, repr=False)
    rows: int = field(default=0, compare=False)

    @cached_property
    def manifest(self) -> Manifest:
        """What may be known of it without a client's data."""
        if self.findings is not None:
            known = self.findings.population
            facts = known.clients, self.label_sets, self.public, known.pictures, known.sides, known.notes
            return Manifest(*facts, gone=self.findings.gone)
        return Manifest(
            clients=tuple(shard.client for shard in self.shards),
            label_sets=self.label_sets,
            public=self.public,
            pictures=any(example.image for shard in self.shards[:1] for example in shard.train),
            sides=Sides(any(shard.validation for shard in self.shards), any(shard.test for shard in self.shards)),
            notes=self.notes,
        )

    @cached_property
    def told(self) -> tuple[str, ...]:
        """Lines for the user: the notes, and what there is on which side.

        Raises:
            InputError: no client has an example on the side that is reported.
        """
        if self.findings is not None:
            return self.notes
        count = [f"{self.rows:,} rows were read."] if self.rows else []
        return (*count, *self.notes, *telling.notes(self.shards, self.label_sets, self.manifest.sides))

    def shard(self, ref: ShardRef | str) -> Shard:
        """A client's data; InputError if they are not here, or not all of those that the population has."""
        client = ref if isinstance(ref, str) else ref.client
        if self.findings is not None and client not in self._by_client and (gap := self.findings.gap(client)):
            raise InputError(gap)
        return found(self._by_client, ref)

    def rows_of(self, client: str) -> tuple[str, ...]:
        """Keys of a client's rows in the order in which they stand at the source now.

        Where a column names clients, these are all usable rows of the client, those too that ``data.maximum`` leaves out;
        with a partitioner its examples in the order of the source; else side by side.

        Raises:
            InputError: the client's data are not here.
        """
        if self.findings is not None and (absence := self.findings.absence(client)):
            raise InputError(absence)
        if self.ordered is not None and client in self.manifest.clients:
            return tuple(example.key for example in self.ordered(client))
        return tuple(example.key for example in self.shard(client).examples)

    @cached_property
    def _by_client(self) -> dict[str, Shard]:
        return {shard.client: shard for shard in self.shards}


def recorded(findings: Findings) -> Dataset:
    """The data set of a population, as far as it was found."""
    known = findings.population
    return Dataset(
        findings.shards,
        findings.public,
        {name: LabelSet(one.labels, one.captions) for name, one in known.label_sets.items()},
        known.notes,
        known.public_clients,
        findings.ordered,
        findings,
    )


def refound(made: Dataset, known: Population, source: str) -> Dataset:
    """The data set of a population, looked for client by client in what a loader has made without one."""
    rows = {shard.client: shard.examples for shard in made.shards}
    return recorded(by_client(known, source, lambda client: rows.get(client, ()), made.public))


def written(dataset: Dataset) -> Population:
    """The population of a data set that was loaded without one; who joins at first and who never does is set afterwards.

    Raises:
        InputError: no client has an example on the side that is reported.
    """
    if dataset.findings is not None:
        return dataset.findings.population
    manifest = dataset.manifest
    return Population(
        clients=manifest.clients,
        public=tuple(example.key for example in dataset.public) if dataset.public_clients else None,
        public_clients=dataset.public_clients,
        label_sets=labels_of(dataset.label_sets),
        pictures=manifest.pictures,
        validated=manifest.sides.validated,
        tested=manifest.sides.tested,
        notes=dataset.told,
        shards={shard.client: shard.digest() for shard in dataset.shards},
        examples={shard.client: Recorded.of(shard) for shard in dataset.shards},
    )


def split_template(template: str) -> tuple[str, str]:
    """A template's prompt part and the name of its last column, the answer's."""
    prompt, _, answer = template.rpartition("{")
    return prompt, answer.removesuffix("}")


def columns(template: str) -> list[str]:
    """Names of the columns in a template, the answer's last."""
    return [name for _, name in _pieces(template) if name]


def fill(template: str, row: dict[str, object]) -> Example:
    """The example that a template makes of a row; a name in braces is a column's, dots and brackets in it included.

    Raises:
        InputError: the template names a column that the row does not have.
    """
    prompt, answer = split_template(template)
    try:
        filled, spans = "", []
        for text, name in _pieces(prompt):
            filled += text
            if name:
                start = len(filled)
                filled += str(row[name])
                spans.append((start, len(filled)))
        return Example(filled, str(row[answer]), columns=tuple(spans))
    except KeyError as error:
        raise InputError(f"data.prompt: there is no column {error}; the columns are {', '.join(row)}") from error


@lru_cache
def _pieces(template: str) -> tuple[tuple[str, str | None], ...]:
    """Each text of a template with the name of the column that follows it; the last text may have none."""
    return tuple((text, name) for text, name, _, _ in string.Formatter().parse(template))
