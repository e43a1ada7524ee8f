"""What the loaders of texts share: usable rows in Arrow, and the data set that is made of them or found among them.

A table of millions of rows costs no Python object per cell: examples are made of the rows of the clients that are used only.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from clients.data import dealing, findings, sides, text_files
from clients.data.cells import TEXT, most_frequent, text_of
from clients.data.dataset import Dataset, Example, LabelSet, columns, fill, recorded, split_template
from clients.data.hub import open_texts
from clients.data.population import Population
from clients.data.specs import RedditData, Sent140Data, StackOverflowData, TableData
from clients.errors import InputError

Texts = TableData | Sent140Data | RedditData | StackOverflowData


@dataclass(frozen=True)
class Rows:
    """The rows of a table that may become examples.

    Attributes:
        table: columns of the prompt, the answers' as text.
        owners: whose each row is; None where a partitioner deals.
        labels: what is ranked, in this order; empty for free text.
        inferred: whether the labels follow from the rows.
        notes: lines for the user.
        count: rows that were read, with those that were left out since.
        plain: what is done to each text of a row that is used.
        groups: in which group each row says that its owner is, None where it does not; empty where nobody asks.
    """

    table: pa.Table
    owners: Sequence[object] | None
    labels: Sequence[str]
    inferred: bool
    notes: Sequence[str]
    count: int = 0
    plain: Callable[[str], str] = str
    groups: Sequence[object] = ()


def read(spec: Texts, used: Sequence[str], named: Sequence[str] = (), beside: Sequence[str] = ()) -> text_files.Texts:
    """The columns ``used`` of the rows that have a value in each of them, as texts, and a note on the others by column.

    Args:
        named: those of the columns that name a client or a label, in which an empty text is no value.
        beside: further columns, in which a row needs no value.

    Raises:
        InputError: source or column missing.
    """
    names = list(dict.fromkeys((*used, *named)))
    dialect = text_files.Dialect(spec.delimiter, spec.encoding, spec.columns)
    found = open_texts(spec.source, spec.config, spec.split, list(dict.fromkeys((*names, *beside))), dialect)
    notes, table, rows = list(found.notes), found.table, len(found.table)
    for name in names:
        there = pc.is_valid(table[name])
        if name in named and table[name].type == TEXT:
            there = pc.and_(there, pc.not_equal(table[name], "").fill_null(False))
        whole = table.filter(there)
        if len(whole) < len(table):
            notes.append(f"{len(table) - len(whole)} of {rows} rows have no value in column {name!r}; they are left out.")
            table = whole
    return found._replace(table=table, notes=notes, rows=rows)


def with_column(table: pa.Table, name: str, values: Sequence[str]) -> pa.Table:
    """The table with a column of texts added, or put in place of the one of that name."""
    rest = table.drop_columns([name]) if name in table.column_names else table
    return rest.append_column(name, pa.array(values, pa.large_string()))


def asked_labels(
    found: Sequence[str], asked: int | Sequence[str], key: str, source: str, known: Population | None
) -> list[str]:
    """The labels that a scenario asks for: those listed, or as many of the most frequent ones, ties by name.

    Args:
        found: label of each usable row.
        key: the scenario's, for errors.
        known: the population, which has written them down.

    Raises:
        InputError: there are not so many, or a listed one is not there.
    """
    if known is not None:
        return list(known.label_sets[""].labels)
    counts = Counter(found)
    if isinstance(asked, int):
        order = sorted(counts, key=lambda name: (-counts[name], name))
        if len(order) < asked:
            raise InputError(f"{key}: {asked} asked for, {source} has usable rows of {len(order)}")
        return order[:asked]
    missing = [name for name in asked if name not in counts]
    if missing:
        raise InputError(f"{key}: {source} has no usable row of {missing[0]!r}")
    return list(asked)


def dataset_of(rows: Rows, spec: Texts, seed: int, known: Population | None) -> Dataset:
    """Shards of the clients that ``spec`` asks for, or under a population those that it has."""
    if known is not None:
        return recorded(_found(rows, spec, known))
    return _dealt(replace(rows, notes=[*rows.notes, *near_twins(rows.labels)]), spec, seed)


def near_twins(labels: Sequence[str]) -> list[str]:
    """Notes on labels that only blanks, capitals or ways of writing one character tell apart, as ``pos`` and `` Pos``."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault(" ".join(unicodedata.normalize("NFKC", label).casefold().split()), []).append(label)
    return [
        f"The labels {' and '.join(map(repr, mine))} differ in capitals or blanks only; each is a label of its own."
        for mine in alike.values()
        if len(mine) > 1
    ]


def _dealt(rows: Rows, spec: Texts, seed: int) -> Dataset:
    dealt = dealing.by_column(rows.owners) if rows.owners is not None else _by_partitioner(rows, spec, seed)
    public, kept, more = dealing.choose(dealt, spec)
    if rows.inferred:
        more += dealing.telling_labels(_answers(rows, spec), rows.labels, dealt, kept)
    taken = {client: _taken(rows, spec, sorted(dealt[client])) for client in kept}
    examples = partial(_examples, prompt=spec.prompt, plain=rows.plain)
    shards = {
        client: replace(sides.shard(client, examples(taken[client]), spec, seed), group=_group(rows, dealt[client]))
        for client in kept
    }

    def ordered(client: str) -> Iterator[Example]:
        if rows.owners is not None:
            return examples(taken[client])
        mine = {example.key for example in shards[client].examples}  # a part has no rows but those that were drawn
        return (example for example in examples(taken[client]) if example.key in mine)

    return Dataset(
        tuple(shards.values()),
        tuple(example for client in public for example in examples(_taken(rows, spec, dealt[client]))),
        {"": LabelSet(tuple(rows.labels), tuple(rows.labels))} if rows.labels else {},
        (*rows.notes, *more),
        tuple(public),
        ordered,
        rows=rows.count,
    )


def _group(rows: Rows, numbers: Iterable[int]) -> str:
    """What most of these rows say, the lowest text of equals; empty where none says it."""
    values = [rows.groups[number] for number in numbers] if rows.groups else []
    return most_frequent(text_of(value) for value in values if value not in (None, ""))


def _found(rows: Rows, spec: Texts, known: Population) -> findings.Findings:
    examples = partial(_examples, prompt=spec.prompt, plain=rows.plain)
    if rows.owners is None:
        names = list(dict.fromkeys(columns(spec.prompt)))
        return findings.by_key(known, spec.source, examples(rows.table.select(names)))
    dealt = dealing.by_column(rows.owners)
    taken = {name: _taken(rows, spec, dealt[name]) for name in (*known.clients, *known.public_clients) if name in dealt}
    return findings.by_client(known, spec.source, lambda name: examples(taken[name]) if name in taken else ())


def _by_partitioner(rows: Rows, spec: Texts, seed: int) -> dict[str, list[int]]:
    """Part, named ``u0, u1, ...``, to its row numbers."""
    partitioner = getattr(spec, "partitioner", None)
    assert partitioner is not None
    parts = spec.clients + spec.public_clients
    made = dealing.by_partitioner(_answers(rows, spec), partitioner, parts, spec.minimum, seed)
    return {f"u{part}": numbers for part, numbers in enumerate(made)}


def _answers(rows: Rows, spec: Texts) -> list[str]:
    answers: list[str] = rows.table[split_template(spec.prompt)[1]].to_pylist()
    return answers


def _taken(rows: Rows, spec: Texts, numbers: Sequence[int]) -> pa.Table:
    """These rows, the columns of the prompt only; nothing of the whole table stays in memory for them."""
    return rows.table.select(list(dict.fromkeys(columns(spec.prompt)))).take(pa.array(numbers, pa.int64()))


def _examples(table: pa.Table, prompt: str, plain: Callable[[str], str]) -> Iterator[Example]:
    def block(start: int, stop: int) -> Iterator[Example]:
        for row in table.slice(start, stop - start).to_pylist():
            yield fill(
                prompt, {name: plain(value) if isinstance(value, str) else text_of(value) for name, value in row.items()}
            )

    return findings.in_blocks(len(table), block)
