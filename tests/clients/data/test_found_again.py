"""Shards found again on a source that lacks the rows of some clients and has the others in another order."""

import io
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from small_tables import (
    DEALINGS,
    ROWS,
    SOURCES,
    assert_found,
    prompts,
    table,
    through_json,
    without,
    write_jsonl,
)

from clients.data import loaders as data
from clients.data.dataset import Dataset, Example, LabelSet, Shard
from clients.data.specs import (
    DataSpec,
    FictionData,
    ImageData,
    OutsideData,
    RedditData,
    Sent140Data,
    StackOverflowData,
    TableData,
    TofuData,
)
from clients.errors import InputError
from clients.models.loaders import identity
from clients.settings import ModelSpec


@pytest.mark.filterwarnings("ignore:The specified min_partition_size")
@pytest.mark.parametrize("dealing", DEALINGS)
@pytest.mark.parametrize("name", SOURCES)
def test_a_table_without_the_rows_of_some(tmp_path: Path, name: str, dealing: str) -> None:
    """Ann alone holds a label, so that all rows of it go with her; by a partitioner, whoever has it."""
    spec = table(tmp_path / name, **DEALINGS[dealing], config="main" if name.startswith("hub") else None)
    SOURCES[name](Path(spec.source), ROWS)
    whole = data.load(spec, 7)
    known = through_json(data.written(whole))
    assert list(known.public or ()) == [example.key for example in whole.public]
    erased = {"ann", "dee"} if dealing == "column" else set(whole.manifest.clients[1:3])
    left = without(ROWS, whole, erased, "who" if dealing == "column" else None)
    (tmp_path / "left").mkdir()
    fewer = spec.model_copy(update={"source": str(tmp_path / "left" / name)})
    SOURCES[name](Path(fewer.source), left)
    assert_found(whole, data.load(fewer, 7, known), erased)


@pytest.fixture(scope="module")
def erasing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[TableData, Dataset]]:
    """A spec and its whole data set, by way of dealing."""
    path = tmp_path_factory.mktemp("whole") / "t.jsonl"
    write_jsonl(path, ROWS)
    specs = {name: table(path, **options) for name, options in DEALINGS.items() if name != "dirichlet"}
    return {name: (spec, data.load(spec, 7)) for name, spec in specs.items()}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    chosen=st.sets(st.integers(0, 4)), dealing=st.sampled_from(["column", "iid", "label_subsets"]), seed=st.integers(0, 99)
)
def test_any_subset_may_go(
    erasing: dict[str, tuple[TableData, Dataset]], tmp_path: Path, chosen: set[int], dealing: str, seed: int
) -> None:
    spec, whole = erasing[dealing]
    erased = {whole.manifest.clients[number] for number in chosen}
    left = without(ROWS, whole, erased, "who" if dealing == "column" else None, seed)
    write_jsonl(tmp_path / "left.jsonl", left)
    fewer = spec.model_copy(update={"source": str(tmp_path / "left.jsonl")})
    assert_found(whole, data.load(fewer, 7, data.written(whole)), erased)


@pytest.mark.parametrize("dealing", ["column", "iid"])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet", "hub of jsonl", "hub of parquet"])
def test_everybody_may_go(tmp_path: Path, name: str, dealing: str) -> None:
    """A source without a row is still one."""
    spec = table(tmp_path / name, **DEALINGS[dealing], public_clients=0, config="main" if name.startswith("hub") else None)
    SOURCES[name](tmp_path / name, ROWS)
    whole = data.load(spec, 7)
    (tmp_path / "left").mkdir()
    SOURCES[name](tmp_path / "left" / name, [])
    left = data.load(spec.model_copy(update={"source": str(tmp_path / "left" / name)}), 7, data.written(whole))
    assert_found(whole, left, set(whole.manifest.clients))


@pytest.mark.parametrize("copies", [1, 3])
def test_how_often_a_row_is_there_does_not_matter(tmp_path: Path, copies: int) -> None:
    """Ann has the same row twice; one copy is enough, and more change nothing."""
    rows = [{"who": "ann", "text": text, "label": label} for text, label in (("x", "a"), ("x", "a"), ("y", "b"))]
    write_jsonl(tmp_path / "t.jsonl", rows)
    spec = table(tmp_path / "t.jsonl", clients=1, public_clients=0, partitioner={})
    whole = data.load(spec, 7)
    known = data.written(whole)
    assert (known.public, known.public_clients) == (None, ())
    write_jsonl(tmp_path / "t.jsonl", [rows[2], *rows[:1] * copies])
    left = data.load(spec, 7, known)
    assert left.shard("u0") == whole.shard("u0")
    assert [Example("Text:y\nLabel:", "b").key, *[Example("Text:x\nLabel:", "a").key] * 2] == list(left.rows_of("u0"))


TWEETS = [
    {"user": who, "sentiment": 4 * (i % 2), "text": f"{who} tweets {i}"} for who in ("7", "8", "9", "10") for i in range(4)
]
COMMENTS = [
    {"author": who, "subreddit": subs[i % 2], "body": f"{who} writes {i}"}
    for who, subs in (
        ("ann", ("tea", "rare")),
        ("bob", ("tea", "cats")),
        ("cid", ("cats", "tea")),
        ("dee", ("cats", "maps")),
    )
    for i in range(6)
]
POSTS = [
    {"OwnerUserId": who, "Tags": [tags[i % 2]], "Body": f"<p>{who} asks {i}</p>"}
    for who, tags in ((1, ("python", "odd")), (2, ("python", "c#")), (3, ("c#", "python")), (4, ("c#", "c++")))
    for i in range(6)
]
FAMILIES: dict[str, tuple[list[Any], str, Callable[[str], DataSpec], list[str]]] = {
    "sent140": (
        TWEETS,
        "user",
        lambda s: Sent140Data(source=s, clients=3, minimum=1, public_clients=1),
        ["negative", "positive"],
    ),
    "reddit": (
        COMMENTS,
        "author",
        lambda s: RedditData(source=s, clients=3, minimum=1, public_clients=1, subreddits=3),
        ["cats", "tea", "maps"],
    ),
    "stackoverflow": (
        POSTS,
        "OwnerUserId",
        lambda s: StackOverflowData(source=s, clients=3, minimum=1, public_clients=1, tags=3),
        ["c#", "python", "c++"],
    ),
}


@pytest.mark.parametrize("parquet", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_papers_texts_without_the_rows_of_some(tmp_path: Path, family: str, parquet: bool) -> None:
    """Labels are not counted again: with the first client, most rows of some labels go."""
    rows, owner, spec_of, labels = FAMILIES[family]
    path = tmp_path / ("t.parquet" if parquet else "t.jsonl")

    def write(kept: list[Any]) -> None:
        if parquet:
            pq.write_table(pa.Table.from_pylist(kept, pa.Table.from_pylist(rows).schema), path)
        else:
            write_jsonl(path, kept)

    write(rows)
    spec = spec_of(str(path))
    whole = data.load(spec, 7)
    assert list(whole.label_sets[""].labels) == labels
    known = through_json(data.written(whole))
    erased = set(whole.manifest.clients[:2])
    write(without(rows, whole, erased, owner))
    assert_found(whole, data.load(spec, 7, known), erased)


def test_bots_and_dealt_comments(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "t.jsonl", COMMENTS)
    spec = RedditData(source=str(tmp_path / "t.jsonl"), clients=2, minimum=1, subreddits=2, partitioner={"name": "iid"})
    whole = data.load(spec, 7)
    gone = {prompt.removeprefix("Comment:").removesuffix("\nSubreddit:") for prompt in prompts(whole.shard("u1"))}
    write_jsonl(tmp_path / "t.jsonl", [row for row in reversed(COMMENTS) if row["body"] not in gone])
    assert_found(whole, data.load(spec, 7, data.written(whole)), {"u1"})


def write_tofu(folder: Path, pairs: list[tuple[str, str]]) -> None:
    for config, rows in {
        "full": pairs,
        "holdout10": [("h", "h")],
        "real_authors": [("r", "r")],
        "world_facts": [("w", "w")],
    }.items():
        (folder / config).mkdir(parents=True, exist_ok=True)
        columns = {"question": [q for q, _ in rows], "answer": [a for _, a in rows]}
        pq.write_table(pa.table(columns), folder / config / "train.parquet")
    entries = "".join(
        f"- config_name: {config}\n  data_files:\n  - split: train\n    path: {config}/train.parquet\n"
        for config in ("full", "holdout10", "real_authors", "world_facts")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{entries}---\n")


def test_tofu_authors_move_up(tmp_path: Path) -> None:
    """Author 1 is rows 20 to 39; without them author 2 stands there, and is u2 all the same."""
    pairs = [(f"What is {i}?", f"It is {i}.") for i in range(80)]
    write_tofu(tmp_path, pairs)
    spec = TofuData(source=str(tmp_path), clients=4, pairs=5)
    whole = data.load(spec, 7)
    known = through_json(data.written(whole))
    assert known.public is None
    write_tofu(tmp_path, pairs[60:] + pairs[:20] + pairs[40:60])
    left = data.load(spec, 7, known)
    assert_found(whole, left, {"u1"})
    assert list(left.rows_of("u3")) == [Example(f"Question:{q}\nAnswer:", a).key for q, a in pairs[60:65]]
    assert left.public == tuple(Example(f"Question:{name}\nAnswer:", name) for name in "hrw")


def test_fiction_has_everybody_but_those_who_were_forgotten() -> None:
    spec = FictionData(clients=4, pairs=3, public_authors=8)
    whole = data.load(spec, 7)
    known = data.written(whole)
    assert_found(whole, data.load(spec, 7, known), ())
    left = data.load(spec, 7, known.without(["u2"]))
    assert left.manifest == replace(whole.manifest, notes=whole.told, gone=("u2",))
    for ask in (left.shard, left.rows_of):
        with pytest.raises(
            InputError, match="client u2 was forgotten: which examples were its own is not written down any more"
        ):
            ask("u2")
    assert data.returning(spec, 7, known.without(["u2"]))("u2") == whole.shard("u2")


class Stations(OutsideData):
    """A family from outside: one client a station, fewer of them once some are closed."""

    closed: tuple[int, ...] = ()

    def load(self, seed: int) -> Dataset:
        stations = [i for i in range(self.clients) if i not in self.closed]
        shards = tuple(
            Shard(f"s{i}", (Example(f"{i}", "sun"), Example(f"{i}?", "rain")), (Example("v", f"{i}"),)) for i in stations
        )
        return Dataset(shards, (Example("open", "sun"),), {"": LabelSet(("rain", "sun"), ("rain", "sun"))})


def test_a_family_from_outside_may_give_fewer() -> None:
    spec = Stations(family="tests:Stations", clients=3)
    whole = data.load(spec, 7)
    fewer = data.load(spec.model_copy(update={"closed": (1,)}), 7, data.written(whole))
    assert_found(whole, fewer, {"s1"})
    assert list(fewer.rows_of("s2")) == [Example("2", "sun").key, Example("2?", "rain").key, Example("v", "2").key]


# Pictures


def picture(name: str, row: int) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (4, 4), random.Random(f"{name}/{row}").randbytes(48)).save(file, format="PNG")
    return file.getvalue()


def pictures(name: str, count: int) -> list[Any]:
    cells = [{"bytes": picture(name, i), "path": None} for i in range(count)]
    return [{"image": cell, "label": i % 3, "writer": "vwxyz"[i % 5]} for i, cell in enumerate(cells)]


PICTURES, FEW = pictures("a", 30), pictures("b", 5)


def write_pictures(folder: Path, rows: list[Any], classes: bool) -> None:
    """With class names in the table, or as a tool leaves it that knows nothing of them: plain numbers."""
    import datasets

    label = datasets.ClassLabel(names=["a_b", "cat", "dog", "never"]) if classes else datasets.Value("int64")
    features = datasets.Features({"image": datasets.Image(), "label": label, "writer": datasets.Value("string")})
    folder.mkdir(exist_ok=True)
    columns = {name: [row[name] for row in rows] for name in features}
    datasets.Dataset.from_dict(columns, features).to_parquet(folder / "train.parquet")


@pytest.mark.parametrize("classes_left", [True, False])
@pytest.mark.parametrize("column", ["writer", None])
def test_pictures_without_those_of_some(tmp_path: Path, column: str | None, classes_left: bool) -> None:
    """All pictures of a class may go with them: the classes are those that were written down, in their order."""
    write_pictures(tmp_path / "a", PICTURES, classes=True)
    write_pictures(tmp_path / "b", FEW, classes=True)
    sets = [{"source": str(tmp_path / name)} for name in "ab"]
    options = {"sets": sets, "client_column": column, "clients": 4, "public_clients": 1, "minimum": 5, "maximum": 5}
    spec = ImageData.model_validate(options | {"validation": 1})
    whole = data.load(spec, 7)
    known = through_json(data.written(whole))
    assert known.pictures
    assert whole.label_sets["a"].labels == ("a b", "cat", "dog", "never")
    erased = whole.manifest.clients[1]
    gone = {example.image for example in whole.shard(erased).examples}
    left = [row for row in PICTURES if row["image"]["bytes"] not in gone]
    if column is not None:
        left = [row for row in left if f"a-{row['writer']}" != erased]
    random.Random(1).shuffle(left)
    write_pictures(tmp_path / "a", left, classes_left)
    write_pictures(tmp_path / "b", FEW[::-1], classes_left)
    found = data.load(spec, 7, known)
    assert found.manifest == replace(whole.manifest, notes=whole.told, gone=(erased,))
    assert identity(ModelSpec(base="tiny-clip"), found.manifest, "cpu") == identity(
        ModelSpec(base="tiny-clip"), whole.manifest, "cpu"
    )
    assert {shard.client: shard for shard in found.shards} == {
        shard.client: shard for shard in whole.shards if shard.client != erased
    }
    client = found.shards[0].client
    name = found.shards[0].train[0].label_set
    mine = {example.key: example for example in found.shards[0].examples}
    order = [row["image"]["bytes"] for row in (left if name == "a" else FEW[::-1])]
    places = [order.index(mine[key].image) for key in found.rows_of(client) if key in mine]
    assert len(places) == 5
    assert places == sorted(places)
    if column is not None:  # six pictures each, of which the maximum takes five
        assert len(found.rows_of(client)) == len(whole.rows_of(client)) == 6
        assert data.returning(spec, 7, known)(client).client == client


def test_classes_that_follow_from_the_pictures_may_tell(tmp_path: Path) -> None:
    """Pictures of one writer alone show a 7; class names in the table tell nothing of who drew what."""
    rows = [row | {"label": 7 if row["writer"] == "w" and i < 10 else row["label"]} for i, row in enumerate(PICTURES)]
    write_pictures(tmp_path / "a", rows, classes=False)
    options = {"sets": [{"source": str(tmp_path / "a")}], "client_column": "writer", "clients": 5, "minimum": 1}
    notes = data.load(ImageData.model_validate(options), 7).notes
    assert notes[-1] == "The label '7' is held by one client alone: the label set tells that it took part."
    write_pictures(tmp_path / "a", [row | {"label": 3 * (row["writer"] == "w")} for row in PICTURES], classes=True)
    assert not any("alone" in note for note in data.load(ImageData.model_validate(options), 7).notes)


def test_a_set_of_pictures_without_any_left(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", PICTURES, classes=True)
    write_pictures(tmp_path / "b", FEW, classes=True)
    sets = [{"source": str(tmp_path / name)} for name in "ab"]
    spec = ImageData.model_validate({"sets": sets, "clients": 3, "minimum": 5, "maximum": 5, "validation": 1})
    whole = data.load(spec, 7)
    assert whole.manifest.clients == ("a-0", "a-1", "b-0")
    file = tmp_path / "b" / "train.parquet"
    pq.write_table(pq.read_table(file).slice(0, 0), file)
    left = data.load(spec, 7, data.written(whole))
    assert left.manifest == replace(whole.manifest, notes=whole.told, gone=("b-0",))
    assert left.shards == whole.shards[:2]
