"""Which rows belong to which client, and which clients are used.

Rows are grouped by a column in one pass. The parts are those of flwr-datasets' ``NaturalIdPartitioner`` (a test compares
them), which reads the column value by value: 6 s instead of 0.4 s for 200,000 rows with flwr-datasets 0.6.

Where no column says whose row it is, a partitioner of flwr-datasets deals, on a table of the labels only. Rows are
shuffled first: ``iid`` of flwr-datasets cuts contiguous pieces, and many tables are sorted by label. ``label_subsets``
is not in flwr-datasets: labels are cut into disjoint subsets and the rows of each are dealt by ``IidPartitioner``.
Deviation: which rows a client gets depends on the seed and on the whole table, never on who has been forgotten since.
"""

import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from clients.data.specs import Dealt, Partitioner
from clients.errors import InputError, some

TOLD = 3
"""Labels that a note spells out."""


def by_column(values: Sequence[object]) -> dict[str, list[int]]:
    """Client, named as the column names it, to its row numbers in row order."""
    dealt: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        dealt.setdefault(str(value), []).append(row)
    return dealt


def by_partitioner(labels: Sequence[str], chosen: Partitioner, parts: int, minimum: int, seed: int) -> list[list[int]]:
    """Row numbers of each of ``parts`` parts; no row is in two of them, some may be in none.

    Args:
        labels: label of each row.
        minimum: rows that a part should have at least; only ``dirichlet`` heeds it, by drawing again.

    Raises:
        InputError: too few rows or labels for so many parts.
    """
    if len(labels) < parts:
        raise InputError(f"data.clients: {parts} clients cannot be made of {len(labels)} rows")
    try:
        if chosen.name == "label_subsets":
            return _in_subsets(labels, chosen.classes, parts, seed)
        if chosen.name == "shard" and len(labels) < parts * chosen.shards:  # the library would divide by zero
            raise ValueError(f"that would be {parts * chosen.shards} shards")
        return _loaded(_made(chosen, parts, minimum, seed), labels, range(len(labels)), parts, seed)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"data.partitioner: {chosen.name} cannot deal {len(labels)} rows to {parts} clients: {reason}"
        ) from error


def label_subsets(labels: Sequence[str], classes: int, seed: int) -> list[list[str]]:
    """The labels that occur, shuffled and cut into disjoint subsets of ``classes``; the last one takes the remainder.

    Raises:
        ValueError: fewer labels occur than one subset has.
    """
    found = sorted(set(labels))
    if len(found) < classes:
        raise ValueError(f"subsets of {classes} labels, but there are only {len(found)} labels")
    random.Random(f"label subsets/{seed}").shuffle(found)
    starts = range(0, len(found) - classes + 1, classes)
    return [found[start : start + classes] if start < starts[-1] else found[start:] for start in starts]


def choose(dealt: Mapping[str, Sequence[Any]], spec: Dealt) -> tuple[list[str], list[str], list[str]]:
    """Public clients, clients that are used, sorted by name, and notes for the user.

    Clients with fewer than ``spec.minimum`` rows are left out; of the others those with most rows come first, ties by
    name, and the public ones before the rest.
    """
    large = [client for client in dealt if len(dealt[client]) >= spec.minimum]
    order = sorted(large, key=lambda client: (-len(dealt[client]), client))
    public, rest = order[: spec.public_clients], order[spec.public_clients :]
    notes = []
    if spec.public_clients:
        notes.append(f"{len(public)} of {len(large)} clients are set aside as public.")
    if len(large) < len(dealt):
        notes.append(
            f"{len(dealt) - len(large)} of {len(dealt)} clients have fewer than data.minimum = {spec.minimum} examples."
        )
    return public, sorted(rest[: spec.clients]), notes


def telling_labels(
    labels: Sequence[str], kept: Sequence[str], dealt: Mapping[str, Sequence[int]], clients: Sequence[str]
) -> list[str]:
    """A note on the labels that one client alone holds, if there are any: an inferred label set tells that it took part.

    Args:
        labels: label of each row.
        kept: the label set.
        dealt: client, public ones and those that are left out too, to its row numbers.
        clients: those that are used.
    """
    import numpy as np

    used = set(clients)
    holder = np.full(len(labels), -1)  # rows of all who are not used count as one holder
    for number, (client, rows) in enumerate(dealt.items()):
        if client in used:
            holder[rows] = number
    only: dict[str, int | None] = {}  # label to the one who holds it, None where there are several
    for label, mine in zip(labels, holder.tolist(), strict=True):
        if only.setdefault(label, mine) != mine:
            only[label] = None
    alone = [label for label in kept if only.get(label) not in (None, -1)]
    if len(alone) == 1:
        return [f"The label {alone[0]!r} is held by one client alone: the label set tells that it took part."]
    shown = some(list(map(repr, alone)), TOLD)
    return [f"The labels {shown} are each held by one client alone: the label set tells that it took part."] if alone else []


def _made(chosen: Partitioner, parts: int, minimum: int, seed: int) -> Any:
    from flwr_datasets import partitioner as library

    match chosen.name:
        case "dirichlet":
            return library.DirichletPartitioner(parts, "label", alpha=chosen.alpha, min_partition_size=minimum, seed=seed)
        case "pathological":
            return library.PathologicalPartitioner(parts, "label", chosen.classes, seed=seed)
        case "shard":
            return library.ShardPartitioner(parts, "label", num_shards_per_partition=chosen.shards, seed=seed)
        case "sizes":
            if len(chosen.sizes) != parts:
                raise ValueError(f"data.partitioner.sizes has {len(chosen.sizes)} sizes")
            return library.SizePartitioner(chosen.sizes)
        case "linear":
            return library.LinearPartitioner(parts)
        case "square":
            return library.SquarePartitioner(parts)
        case "exponential":
            return library.ExponentialPartitioner(parts)
        case _:
            return library.IidPartitioner(parts)


def _loaded(made: Any, labels: Sequence[str], rows: Sequence[int], parts: int, seed: int) -> list[list[int]]:
    """What a partitioner makes of some of the rows, as row numbers."""
    import datasets
    import numpy as np

    # As Dataset.shuffle; without its index the table reads several times faster.
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    mixed = [rows[place] for place in order]
    made.dataset = datasets.Dataset.from_dict({"label": [labels[row] for row in mixed], "row": mixed})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of labels that pathological gives to nobody
        # The shard partitioner leaves out the last rows where they do not make whole shards.
        return [made.load_partition(part)["row"][:] for part in range(parts)]


def _in_subsets(labels: Sequence[str], classes: int, parts: int, seed: int) -> list[list[int]]:
    """Part ``i`` belongs to subset ``i`` modulo their number, so that subsets have as many parts each, or one more."""
    from flwr_datasets.partitioner import IidPartitioner

    dealt: list[list[int]] = [[] for _ in range(parts)]
    subsets = label_subsets(labels, classes, seed)
    for index, subset in enumerate(subsets[:parts]):
        chosen = set(subset)
        rows = [row for row, label in enumerate(labels) if label in chosen]
        mine = range(index, parts, len(subsets))
        if len(rows) < len(mine):
            raise ValueError(f"{len(rows)} rows of {', '.join(sorted(subset))} for {len(mine)} of them")
        dealt[index :: len(subsets)] = _loaded(IidPartitioner(len(mine)), labels, rows, len(mine), seed)
    return dealt
