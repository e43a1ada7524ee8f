"""A small table in every layout, dealt in every way, and what has to hold once rows of some are gone from it."""

import csv
import json
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clients.data.dataset import Dataset, Example, Shard
from clients.data.population import Population
from clients.data.specs import (
    TableData,
)
from clients.errors import InputError
from clients.models.loaders import identity
from clients.settings import ModelSpec

Row = Mapping[str, Any]
PEOPLE = {"ann": 9, "bob": 5, "cid": 7, "dee": 4, "eve": 5, "public one": 12}
LABEL_OF = {"ann": "only ann's"}  # of a person's first row
ROWS: list[Row] = [
    {"who": who, "text": f"{who} says {i}, twice", "label": LABEL_OF.get(who, "a") if i == 0 else "abc"[i % 3]}
    for who, count in PEOPLE.items()
    for i in range(count)
]
HUB = "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/{name}\n---\n"


def write_csv(path: Path, rows: Iterable[Row], separator: str = ",") -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["who", "text", "label"], delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(path: Path, rows: Iterable[Row]) -> None:
    path.write_text(json.dumps(list(rows), indent=1))


def write_parquet(path: Path, rows: Iterable[Row]) -> None:
    pq.write_table(
        pa.Table.from_pylist(list(rows), pa.schema([(name, pa.string()) for name in ("who", "text", "label")])), path
    )


def in_hub_layout(write: Callable[[Path, Iterable[Row]], None], name: str) -> Callable[[Path, Iterable[Row]], None]:
    def made(folder: Path, rows: Iterable[Row]) -> None:
        (folder / "main").mkdir(parents=True)
        write(folder / "main" / name, rows)
        (folder / "README.md").write_text(HUB.format(name=name))

    return made


def in_folder(write: Callable[[Path, Iterable[Row]], None], name: str) -> Callable[[Path, Iterable[Row]], None]:
    def made(folder: Path, rows: Iterable[Row]) -> None:
        folder.mkdir()
        write(folder / name, rows)

    return made


SOURCES: dict[str, Callable[[Path, Iterable[Row]], None]] = {
    "t.csv": write_csv,
    "t.jsonl": write_jsonl,
    "t.json": write_json,
    "t.parquet": write_parquet,
    "folder of csv": in_folder(write_csv, "train.csv"),
    "folder of tsv": in_folder(lambda path, rows: write_csv(path, rows, "\t"), "train.tsv"),
    "folder of parquet": in_folder(write_parquet, "train.parquet"),
    "hub of parquet": in_hub_layout(write_parquet, "train.parquet"),
    "hub of jsonl": in_hub_layout(write_jsonl, "train.jsonl"),
}
DEALINGS: dict[str, dict[str, Any]] = {
    "column": {"client_column": "who"},
    "iid": {"partitioner": {"name": "iid"}},
    "dirichlet": {"partitioner": {"name": "dirichlet", "alpha": 5.0}},
    "label_subsets": {"partitioner": {"name": "label_subsets", "classes": 2}},
}


def table(source: Path | str, **options: Any) -> TableData:
    given = {"source": str(source), "prompt": "Text:{text}\nLabel:{label}", "minimum": 1, "clients": 5, "public_clients": 1}
    return TableData.model_validate(given | {"client_column": None if "partitioner" in options else "who"} | options)


def through_json(known: Population) -> Population:
    again = Population.model_validate_json(known.model_dump_json())
    assert (again, again.digest, hash(again)) == (known, known.digest, hash(known))
    return again


def keys_of(known: Population, client: str) -> list[str]:
    return list(known.examples[client].all)


def prompts(shard: Shard) -> set[str]:
    return {example.prompt for example in shard.examples}


def examples(shard: Shard) -> tuple[Example, ...]:
    """All that it holds, of whichever side."""
    return tuple(example for side in vars(shard).values() if isinstance(side, tuple) for example in side)


def assert_found(whole: Dataset, left: Dataset, erased: Collection[str]) -> None:
    """Whoever was not erased is as before, and so is all that is known without a client's data."""
    before, after = replace(whole.manifest, notes=whole.told), left.manifest
    assert after == replace(before, gone=tuple(client for client in before.clients if client in erased))
    assert list(after.label_sets) == list(before.label_sets)
    assert identity(ModelSpec(), after, "cpu") == identity(ModelSpec(), before, "cpu")
    assert [shard.client for shard in left.shards] == [client for client in before.clients if client not in erased]
    for client in before.clients:
        if client in erased:
            for ask in (left.shard, left.rows_of):
                with pytest.raises(InputError, match=f"the data of client {client} are not in .* any more"):
                    ask(client)
        else:
            assert left.shard(client).digest() == whole.shard(client).digest()
            assert sorted(left.rows_of(client)) == sorted(whole.rows_of(client))


def without(rows: Iterable[Row], whole: Dataset, erased: Collection[str], owner: str | None, seed: int = 1) -> list[Row]:
    """The rows in another order, those of the erased left out: by their column, or by what stands in their shards."""
    gone = set().union(*(prompts(whole.shard(client)) for client in erased)) if owner is None else set()
    left = [
        row
        for row in rows
        if (f"Text:{row['text']}\nLabel:" not in gone if owner is None else str(row[owner]) not in erased)
    ]
    random.Random(seed).shuffle(left)
    return left
