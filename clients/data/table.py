"""Any table: rows are dealt to clients by a column or by a flwr-datasets partitioner.

For a partitioner the rows are shuffled first (``iid`` of flwr-datasets cuts contiguous pieces, and many tables are sorted
by label). Deviation: which rows a client gets depends on the seed and on the whole table, never on who has been forgotten
since.
"""

import random
from collections import defaultdict
from typing import Any

from clients.data.dataset import Dataset, Shard, columns, fill, split_template
from clients.data.hub import open_table
from clients.errors import InputError
from clients.settings import TableData


def load(spec: TableData, seed: int) -> Dataset:
    """Clients named by the client column, or ``u0, u1, ...`` by a partitioner, the ones with most rows first."""
    answer = split_template(spec.prompt)[1]
    used = columns(spec.prompt) + ([spec.client_column] if spec.client_column else [])
    table, notes = _without_gaps(open_table(spec.source, spec.config, spec.split, used), used)
    rows = _name_labels(list(table), spec, answer)
    labels = _labels(rows, spec, answer)
    dealt = _by_column(rows, spec.client_column) if spec.client_column else _by_partitioner(table, rows, spec, answer, seed)
    large = {client: mine for client, mine in dealt.items() if len(mine) >= spec.minimum}
    order = sorted(large, key=lambda client: (-len(large[client]), client))
    public = order[: spec.public_clients]
    kept = sorted(order[spec.public_clients :][: spec.clients])
    if spec.public_clients:
        notes.append(f"{min(spec.public_clients, len(order))} of {len(large)} clients are set aside as public.")
    if len(large) < len(dealt):
        notes.append(
            f"{len(dealt) - len(large)} of {len(dealt)} clients have fewer than data.minimum = {spec.minimum} examples."
        )
    return Dataset(
        tuple(_shard(client, large[client], spec, seed) for client in kept),
        tuple(fill(spec.prompt, row) for client in public for row in large[client]),
        labels,
        tuple(notes),
    )


def _without_gaps(table: Any, used: list[str]) -> tuple[Any, list[str]]:
    """The rows that have a value in every column used, and a note on the others."""
    whole = [i for i, row in enumerate(table.select_columns(used)) if all(value is not None for value in row.values())]
    if len(whole) == len(table):
        return table, []
    note = f"{len(table) - len(whole)} of {len(table)} rows have no value in one of {', '.join(used)}; they are left out."
    return table.select(whole), [note]


def _name_labels(rows: list[dict[str, Any]], spec: TableData, answer: str) -> list[dict[str, Any]]:
    """Rows whose label values are replaced by their texts; a value without a text is an error once texts are given."""
    if not spec.label_names:
        return rows
    unknown = sorted({str(row[answer]) for row in rows} - set(spec.label_names))
    if unknown:
        raise InputError(f"data.label_names: no text for the label {unknown[0]!r} of column {answer!r}")
    return [row | {answer: spec.label_names[str(row[answer])]} for row in rows]


def _labels(rows: list[dict[str, Any]], spec: TableData, answer: str) -> tuple[str, ...]:
    if spec.labels is False:
        return ()
    found = sorted({str(row[answer]) for row in rows})
    if spec.labels is True:
        if len(found) < 2 or len(found) > 200:
            raise InputError(
                f"data.labels: column {answer!r} holds {len(found)} different values; ranking needs 2 to 200. "
                "Set data.labels: false if it is free text"
            )
        return tuple(found)
    outside = sorted(set(found) - set(spec.labels))
    if outside:
        raise InputError(f"data.labels: column {answer!r} holds {outside[0]!r}, which is not in the list")
    return tuple(spec.labels)


def _by_column(rows: list[dict[str, Any]], column: str) -> dict[str, list[dict[str, Any]]]:
    dealt = defaultdict(list)
    for row in rows:
        dealt[str(row[column])].append(row)
    return dict(dealt)


def _by_partitioner(
    table: Any, rows: list[dict[str, Any]], spec: TableData, answer: str, seed: int
) -> dict[str, list[dict[str, Any]]]:
    from flwr_datasets import partitioner as partitioners

    chosen = spec.partitioner
    assert chosen is not None
    parts = spec.clients + spec.public_clients
    if len(rows) < parts:
        raise InputError(f"data.clients: {parts} clients cannot be made of {len(rows)} rows")
    made = {
        "iid": lambda: partitioners.IidPartitioner(parts),
        "dirichlet": lambda: partitioners.DirichletPartitioner(
            parts, answer, alpha=chosen.alpha, min_partition_size=spec.minimum, seed=seed
        ),
        "pathological": lambda: partitioners.PathologicalPartitioner(parts, answer, chosen.classes, seed=seed),
        "shard": lambda: partitioners.ShardPartitioner(parts, answer, num_shards_per_partition=chosen.shards, seed=seed),
    }[chosen.name]()
    made.dataset = table.add_column("_row", list(range(len(table)))).shuffle(seed=seed, keep_in_memory=True)
    try:
        # The shard partitioner leaves out the last rows where they do not make whole shards.
        return {f"u{i}": [rows[r] for r in made.load_partition(i)["_row"]] for i in range(parts)}
    except ValueError as error:
        raise InputError(
            f"data.partitioner: {chosen.name} cannot deal {len(rows)} rows to {parts} clients: {error}"
        ) from error


def _shard(client: str, rows: list[dict[str, Any]], spec: TableData, seed: int) -> Shard:
    """A client's own split into training and validation, from its own rows and the seed alone; one is always trained on."""
    examples = [fill(spec.prompt, row) for row in rows[: spec.maximum]]
    random.Random(f"table/{seed}/{client}").shuffle(examples)
    held = min(round(spec.validation * len(examples)), len(examples) - 1)
    return Shard(client, tuple(examples[held:]), tuple(examples[:held]))
