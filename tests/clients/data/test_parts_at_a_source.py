"""Under a population: clients of whom a part is there, rows by number, private nodes, and who comes back."""

from dataclasses import replace
from pathlib import Path

import pytest
from small_tables import (
    ROWS,
    keys_of,
    prompts,
    table,
    write_jsonl,
)

from clients.data import loaders as data
from clients.data.dataset import Example, Shard
from clients.data.shards import SIDES
from clients.data.sides import draw
from clients.errors import InputError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "t.jsonl", ROWS)
    return tmp_path / "t.jsonl"


def test_some_examples_of_a_client_are_gone(source: Path) -> None:
    """Told when the shard is asked for; without them in the population it is whole."""
    spec = table(source)
    whole = data.load(spec, 7)
    known = data.written(whole)
    write_jsonl(source, [row for row in ROWS if row["text"] not in ("bob says 1, twice", "bob says 4, twice")])
    left = data.load(spec, 7, known)
    assert left.manifest.gone == ()
    with pytest.raises(InputError, match=r"2 of the 5 examples of client bob are not in .*t\.jsonl any more"):
        left.shard("bob")
    texts = [Example(f"Text:bob says {i}, twice\nLabel:", "abc"[i % 3]) for i in (0, 2, 3)]
    assert list(left.rows_of("bob")) == [example.key for example in texts]
    before = whole.shard("bob")
    rest = Shard("bob", *(tuple(e for e in before.side(side) if e in texts) for side in SIDES))
    assert data.load(spec, 7, known.holding(rest)).shard("bob") == rest


def test_rows_are_numbered_as_they_stand_now(source: Path) -> None:
    """All rows of a client by column, those beyond the maximum too; the examples it was dealt by a partitioner."""
    spec = table(source, maximum=3)
    whole = data.load(spec, 7)
    known = data.written(whole)
    mine = {row["text"]: Example(f"Text:{row['text']}\nLabel:", row["label"]).key for row in ROWS if row["who"] == "cid"}
    assert len(mine) == 7
    assert whole.rows_of("cid") == tuple(mine.values())
    assert data.load(spec, 7, known).rows_of("cid") == tuple(mine.values())
    backwards = list(reversed(ROWS))
    write_jsonl(source, backwards)
    left = data.load(spec, 7, known)
    assert left.rows_of("cid") == tuple(reversed(mine.values()))
    assert left.shard("cid") == whole.shard("cid")
    dealt = table(source, partitioner={"name": "iid"})
    whole = data.load(dealt, 7)
    own = set(keys_of(data.written(whole), "u2"))
    keys = [Example(f"Text:{row['text']}\nLabel:", row["label"]).key for row in backwards]
    assert list(whole.rows_of("u2")) == [key for key in keys if key in own]
    write_jsonl(source, ROWS)
    assert list(data.load(dealt, 7, data.written(whole)).rows_of("u2")) == [key for key in reversed(keys) if key in own]
    with pytest.raises(InputError, match="client nobody are not at this node"):
        whole.rows_of("nobody")


def test_public_examples_have_to_be_there(source: Path) -> None:
    spec = table(source)
    known = data.written(data.load(spec, 7))
    assert known.public_clients == ("public one",)
    write_jsonl(source, [row for row in ROWS if row["text"] != "public one says 3, twice"])
    with pytest.raises(InputError, match=r"1 of the 12 public examples are not in .*t\.jsonl any more"):
        data.load(spec, 7, known)


def test_a_node_with_its_own_clients(source: Path, tmp_path: Path) -> None:
    """What the rows of one node would not tell, the population does; who is elsewhere is not gone."""
    own = tmp_path / "own.jsonl"
    for options in ({"client_column": "who"}, {"partitioner": {"name": "iid"}}):
        spec = table(source, **options)
        whole = data.load(spec, 7)
        known, mine = data.written(whole).without([whole.manifest.clients[3]]), whole.manifest.clients[1]
        needed = prompts(whole.shard(mine)) | {example.prompt for example in whole.public}
        write_jsonl(own, [row for row in reversed(ROWS) if f"Text:{row['text']}\nLabel:" in needed])
        node = data.load_own(spec, 7, str(own), known)
        assert node.manifest == replace(whole.manifest, notes=whole.told)
        assert node.shards == (whole.shard(mine),)
        with pytest.raises(InputError, match=f"the data of client {whole.manifest.clients[0]} are not at this node"):
            node.shard(whole.manifest.clients[0])
        with pytest.raises(InputError, match="was forgotten"):
            node.shard(whole.manifest.clients[3])
        write_jsonl(own, [row for row in ROWS if f"Text:{row['text']}\nLabel:" in prompts(whole.shard(mine))])
        with pytest.raises(
            InputError, match=r"data-source: .* of the .* public examples are not in .*own\.jsonl; put the rows"
        ):
            data.load_own(spec, 7, str(own), known)


def test_who_comes_back_by_column_has_what_its_rows_make_now(source: Path) -> None:
    spec = table(source, maximum=4)
    whole = data.load(spec, 7)
    known = data.written(whole).without(["eve", "dee"])
    assert data.returning(spec, 7, known)("eve") == whole.shard("eve")
    more = [{"who": "eve", "text": "something new", "label": "b"}, *[row for row in ROWS if row["who"] != "dee"]]
    write_jsonl(source, more)
    back = data.returning(spec, 7, known)("eve")
    rows = [Example(f"Text:{row['text']}\nLabel:", row["label"]) for row in more if row["who"] == "eve"]
    assert len(rows) == 6
    assert set(back.examples) == set(draw("eve", rows, 4, 7))
    assert data.load(spec, 7, known.holding(back)).shard("eve") == back
    with pytest.raises(InputError, match=r"client dee cannot come back: it has no rows in .*t\.jsonl"):
        data.returning(spec, 7, known)("dee")
    with pytest.raises(InputError, match="client zoe may not take part: the population was fixed"):
        data.returning(spec, 7, known)("zoe")
    write_jsonl(source, [{"who": "eve", "text": "x", "label": "unheard of"}, *ROWS])
    with pytest.raises(InputError, match="client eve cannot come back: its label 'unheard of' is not one of those"):
        data.returning(table(source), 7, known)("eve")
    assert data.load(spec, 7, known).shard("bob") == whole.shard("bob")


def test_who_comes_back_to_a_partitioner_needs_the_same_table(source: Path) -> None:
    spec = table(source, partitioner={"name": "iid"})
    whole = data.load(spec, 7)
    known = data.written(whole).without(["u3"])
    assert data.returning(spec, 7, known)("u3") == whole.shard("u3")
    back = data.returning(spec, 7, known)
    assert [back(client) for client in ("u1", "u3")] == [whole.shard("u1"), whole.shard("u3")]
    write_jsonl(source, ROWS[1:])
    with pytest.raises(InputError, match=r"client u3 cannot come back: .*t\.jsonl does not deal it the shard that it had"):
        data.returning(spec, 7, known)("u3")
    write_jsonl(source, ROWS[:3])
    with pytest.raises(
        InputError, match=r"client u3 cannot come back: its shard cannot be made again .*6 clients cannot be made"
    ):
        data.returning(spec, 7, known)("u3")
