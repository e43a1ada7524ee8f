"""Any table: rows are dealt to clients by a column or by a flwr-datasets partitioner.

Also what the loaders of texts share: :func:`read` keeps the table in Arrow, so that a table of millions of rows costs no
Python object per cell, and :func:`dataset_of` makes examples of the rows of the clients that are used only.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clients.data import dealing
from clients.data.dataset import Dataset, Example, LabelSet, columns, fill, split_template
from clients.data.hub import open_table
from clients.data.specs import RedditData, Sent140Data, StackOverflowData, TableData
from clients.errors import InputError

Texts = TableData | Sent140Data | RedditData | StackOverflowData


def load(spec: TableData, seed: int) -> Dataset:
    """Clients named by the client column, or ``u0, u1, ...`` by a partitioner, the ones with most rows first."""
    answer = split_template(spec.prompt)[1]
    table, notes = read(spec, columns(spec.prompt) + ([spec.client_column] if spec.client_column else []))
    answers = _named([str(value) for value in table[answer].to_pylist()], spec, answer)
    labels = _labels(sorted(set(answers)), spec, answer)
    dealt = dealt_by(table[spec.client_column].to_pylist() if spec.client_column else (), answers, spec, seed)
    return dataset_of(with_column(table, answer, answers), dealt, spec, labels, notes, seed)


def read(spec: Texts, used: Sequence[str]) -> tuple[pa.Table, list[str]]:
    """The columns ``used`` of the rows that have a value in each of them, and a note on the others.

    Raises:
        InputError: source or column missing.
    """
    names = list(dict.fromkeys(used))
    table = open_table(spec.source, spec.config, spec.split, names).select_columns(names).with_format("arrow")[:]
    valid = pc.is_valid(table[names[0]])
    for name in names[1:]:
        valid = pc.and_(valid, pc.is_valid(table[name]))
    whole = table.filter(valid)
    if len(whole) == len(table):
        return table, []
    left = len(table) - len(whole)
    return whole, [f"{left} of {len(table)} rows have no value in one of {', '.join(names)}; they are left out."]


def with_column(table: pa.Table, name: str, values: Sequence[str]) -> pa.Table:
    """The table with a column of texts added, or put in place of the one of that name."""
    rest = table.drop_columns([name]) if name in table.column_names else table
    return rest.append_column(name, pa.array(values, pa.large_string()))


def dealt_by(
    owners: Sequence[object], labels: Sequence[str], spec: TableData | RedditData, seed: int
) -> dict[str, list[int]]:
    """Client to its rows: as the partitioner deals them, named ``u0, u1, ...``, or without one as the rows' owners say."""
    if spec.partitioner is None:
        return dealing.by_column(owners)
    parts = spec.clients + spec.public_clients
    made = dealing.by_partitioner(labels, spec.partitioner, parts, spec.minimum, seed)
    return {f"u{part}": rows for part, rows in enumerate(made)}


def asked_labels(found: Sequence[str], asked: int | Sequence[str], key: str, source: str) -> list[str]:
    """The labels that a scenario asks for: those listed, or as many of the most frequent ones, ties by name.

    Args:
        found: label of each usable row.
        key: the scenario's, for errors.

    Raises:
        InputError: there are not so many, or a listed one is not there.
    """
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


def dataset_of(
    table: pa.Table,
    dealt: Mapping[str, Sequence[int]],
    spec: Texts,
    labels: Sequence[str],
    notes: Sequence[str],
    seed: int,
    plain: Callable[[str], str] = str,
) -> Dataset:
    """Shards of the clients that ``spec`` asks for.

    Args:
        table: columns of the prompt, the answers' as text.
        dealt: client to its row numbers in the table.
        labels: what is ranked, in this order; empty for free text.
        plain: what is done to each text of a row that is used.
    """
    public, kept, more = dealing.choose(dealt, spec)
    names = list(dict.fromkeys(columns(spec.prompt)))

    def examples(rows: Sequence[int]) -> list[Example]:
        mine = table.select(names).take(pa.array(rows, pa.int64())).to_pylist()
        return [fill(spec.prompt, {name: _apply(plain, row[name]) for name in names}) for row in mine]

    return Dataset(
        tuple(dealing.shard(client, examples(dealt[client][: spec.maximum]), spec, seed) for client in kept),
        tuple(example for client in public for example in examples(dealt[client])),
        {"": LabelSet(tuple(labels), tuple(labels))} if labels else {},
        (*notes, *more),
    )


def _apply(plain: Callable[[str], str], value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value


def _named(answers: list[str], spec: TableData, answer: str) -> list[str]:
    """Answers replaced by their texts; a value without a text is an error once texts are given."""
    if not spec.label_names:
        return answers
    unknown = sorted(set(answers) - set(spec.label_names))
    if unknown:
        raise InputError(f"data.label_names: no text for the label {unknown[0]!r} of column {answer!r}")
    return [spec.label_names[value] for value in answers]


def _labels(found: list[str], spec: TableData, answer: str) -> list[str]:
    if spec.labels is False:
        return []
    if spec.labels is True:
        if len(found) < 2 or len(found) > 200:
            raise InputError(
                f"data.labels: column {answer!r} holds {len(found)} different values; ranking needs 2 to 200. "
                "Set data.labels: false if it is free text"
            )
        return found
    outside = sorted(set(found) - set(spec.labels))
    if outside:
        raise InputError(f"data.labels: column {answer!r} holds {outside[0]!r}, which is not in the list")
    return spec.labels
