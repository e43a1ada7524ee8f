"""Manifest and sources: what is known of everybody, and whose data are here."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from clients.data import loaders as data
from clients.data.dataset import Dataset, Example, LabelSet, Shard
from clients.data.manifest import Manifest
from clients.data.shards import Sides
from clients.data.source import Private, ShardRef
from clients.data.specs import DataSpec, FictionData, ImageData, RedditData, StackOverflowData, TableData, TofuData
from clients.errors import InputError

Write = Callable[[str, list[dict[str, Any]]], Path]

ONE, TWO, OPEN = (Example(name, "yes") for name in ("one", "two", "open"))
SETS = {"": LabelSet(("yes", "no"), ("yes", "no"))}
WHOLE = Dataset((Shard("ann", (ONE,)), Shard("bob", (TWO,), (ONE,))), (OPEN,), SETS, ("a note",))
ROWS = [
    {"who": who, "text": f"{who} {number}", "label": "yn"[number % 2]}
    for who in ("ann", "bob", "cid")
    for number in range(9)
]


def table(source: Path, **options: Any) -> TableData:
    given = {"source": str(source), "prompt": "{text}: {label}", "client_column": "who", "labels": ["y", "n"], "clients": 3}
    return TableData.model_validate(given | options)


def test_a_manifest_tells_all_but_the_examples_of_clients() -> None:
    sides = Sides(validated=True)
    assert WHOLE.manifest == Manifest(("ann", "bob"), SETS, (OPEN,), pictures=False, sides=sides, notes=("a note",))
    assert WHOLE.manifest.metric == "accuracy"
    assert WHOLE.manifest is WHOLE.manifest
    picture = Shard("ann", (Example("", "yes", b"picture"),))
    free = Dataset((picture,), ()).manifest
    assert (free.pictures, free.sides, free.metric) == (True, (False, False), "answer_probability")
    assert Dataset((), ()).manifest == Manifest((), {}, (), pictures=False, sides=Sides())


def test_data_sets_are_equal_whatever_was_asked_of_them() -> None:
    other = Dataset(WHOLE.shards, WHOLE.public, dict(WHOLE.label_sets), WHOLE.notes)
    assert WHOLE.shard("bob").train == (TWO,)
    assert other == WHOLE
    assert replace(WHOLE, notes=()) != other
    assert [field.name for field in fields(WHOLE) if field.compare] == ["shards", "public", "label_sets", "notes"]


def test_a_shard_is_found_by_name_or_reference() -> None:
    assert WHOLE.shard("ann") is WHOLE.shards[0]
    assert WHOLE.shard(ShardRef(client="bob")) is WHOLE.shards[1]
    assert len({ShardRef(client="ann"), ShardRef(client="ann"), ShardRef(client="bob")}) == 2
    for ref in ("eve", ShardRef(client="eve")):
        with pytest.raises(InputError, match="the data of client eve are not at this node"):
            WHOLE.shard(ref)


def test_a_private_source_knows_everybody_and_holds_its_own() -> None:
    private = Private(WHOLE.manifest, {"bob": WHOLE.shard("bob")})
    assert private.manifest.clients == ("ann", "bob")
    assert private.shard(ShardRef(client="bob")) is WHOLE.shards[1]
    with pytest.raises(InputError, match="the data of client ann are not at this node"):
        private.shard("ann")


def test_own_data_are_the_same_shards_however_few(write_lines: Write) -> None:
    whole = data.load(table(write_lines("all.jsonl", ROWS)), 7)
    own = write_lines("own.jsonl", [row for row in ROWS if row["who"] == "bob"])
    with pytest.raises(InputError, match=r"data\.clients: 3 clients asked for, .*own\.jsonl has 1"):
        data.load(table(own), 7)
    found = data.load_own(table(Path("/nowhere/all.jsonl")), 7, str(own))
    assert found.manifest.clients == ("bob",)
    assert found.shard("bob") == whole.shard("bob")
    assert found.manifest.label_sets == whole.manifest.label_sets
    with pytest.raises(InputError, match=r"data\.source: there is no file or folder /nowhere/own\.jsonl"):
        data.load_own(table(own), 7, "/nowhere/own.jsonl")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ImageData(), r"data\.family: images does not read from one source"),
        (FictionData(), r"data\.family: fiction does not read from one source"),
        (TofuData(), r"data\.family: tofu does not read from one source"),
        (table(Path("x.csv"), client_column=None, partitioner={}), r"data\.partitioner deals the rows of all nodes"),
        (table(Path("x.csv"), public_clients=2), r"data\.public_clients would make some .* public"),
        (table(Path("x.csv"), labels=True), r"data\.labels: true chooses labels by the rows, .*list them"),
        (RedditData(source="x.csv", subreddits=3), r"data\.subreddits: 3 chooses labels by the rows"),
        (StackOverflowData(tags=4), r"data\.tags: 4 chooses labels by the rows"),
    ],
)
def test_what_would_differ_from_node_to_node_is_refused(spec: DataSpec, message: str) -> None:
    with pytest.raises(InputError, match="data-source: .*" + message):
        data.load_own(spec, 7, "own.csv")


def test_free_text_needs_no_labels(write_lines: Write) -> None:
    own = write_lines("own.jsonl", ROWS[:9])
    assert data.load_own(table(own, labels=False), 7, str(own)).manifest.metric == "answer_probability"
