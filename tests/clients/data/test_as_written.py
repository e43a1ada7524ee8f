"""What a cell is: the same text from every kind of file, gaps told by column, class names, labels that look alike."""

import csv
import gzip
import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tables import examples, table, write_csv

from clients.data import loaders as data
from clients.data.cells import as_texts
from clients.data.dataset import Dataset, Example
from clients.data.specs import ImageData, RedditData, Sent140Data, StackOverflowData, TofuData
from clients.data.texts import near_twins
from clients.errors import InputError


def loaded(source: Path, **options: Any) -> Dataset:
    return data.load(table(source, **{"public_clients": 0, "validation": 0, "clients": 1} | options), 7)


def answers(dataset: Dataset, client: str) -> dict[str, str]:
    """Text to answer."""
    return {
        example.prompt.removeprefix("Text:").removesuffix("\nLabel:"): example.answer
        for example in examples(dataset.shard(client))
    }


def write_parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


WORDS = ["None", "NA", "null", "nan", "N/A", "NULL", "NaN", "#N/A", "<NA>", "n/a", "-nan", "1.#IND"]
"""What pandas takes for gaps."""


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "folder/t.csv", "declared/t.csv"])
def test_only_an_empty_cell_of_a_csv_file_is_a_gap(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    lines = [["who", "text", "label"], *([word, word, word] for word in WORDS)]
    lines += [["", "x", "y"], ["", "", "y"], ["a", "x", ""], ["a", '""', "y"]]
    text = "".join(("\t" if ".tsv" in name else ",").join(line) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    if name.startswith("declared"):  # types in a README went to a reader that knows these words
        features = "".join(f"  - name: {column}\n    dtype: string\n" for column in ("who", "text", "label"))
        (path.parent / "README.md").write_text(f"---\ndataset_info:\n  features:\n{features}---\n")
    dataset = loaded(path if path.parent == tmp_path else path.parent, clients=len(WORDS))
    assert dataset.manifest.clients == tuple(sorted(WORDS))
    assert all(answers(dataset, word) == {word: word} for word in WORDS)
    assert dataset.notes[:3] == (
        "2 of 16 rows have no value in column 'text'; they are left out.",  # one of them lacks its owner too
        "1 of 16 rows have no value in column 'label'; they are left out.",
        "1 of 16 rows have no value in column 'who'; they are left out.",
    )


@pytest.mark.parametrize("gap", [True, False])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "int", "float", "text"])
def test_a_number_is_what_is_written_whether_or_not_a_cell_is_empty(tmp_path: Path, kind: str, gap: bool) -> None:
    rows: list[dict[str, Any]] = [{"who": 12, "text": "a", "label": 1}, {"who": 7, "text": "b", "label": 0}]
    rows += [{"who": None, "text": "c", "label": None}] if gap else []
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    path = tmp_path / ("t.parquet" if kind in ("int", "float", "text") else f"t.{kind}")
    if kind == "csv":
        write_csv(path, rows)
    elif kind in ("json", "jsonl"):
        path.write_text(json.dumps(rows) if kind == "json" else "".join(json.dumps(row) + "\n" for row in rows))
    else:
        as_kind = {"int": pa.int64(), "float": pa.float64(), "text": pa.string()}[kind]
        made = {
            name: pa.array([str(v) if kind == "text" and v is not None else v for v in columns[name]], as_kind)
            for name in ("who", "label")
        }
        write_parquet(path, who=made["who"], text=columns["text"], label=made["label"])
    dataset = loaded(path, clients=2)
    assert [(s.client, examples(s)) for s in dataset.shards] == [
        ("12", (Example("Text:a\nLabel:", "1"),)),
        ("7", (Example("Text:b\nLabel:", "0"),)),
    ]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_ids_that_only_numbers_would_confuse_are_apart(tmp_path: Path, kind: str) -> None:
    ids = ["007", "07", "7", "9007199254740993", "9007199254740992", "18446744073709551615", "18446744073709551614"]
    path = tmp_path / f"t.{kind}"
    rows = [{"who": one, "text": one, "label": one} for one in ids]
    if kind == "csv":
        write_csv(path, rows)
    elif kind == "jsonl":  # numbers where JSON has a way to write them
        shown = [one if one.startswith("0") else int(one) for one in ids]
        path.write_text("".join(json.dumps({"who": one, "text": one, "label": one}) + "\n" for one in shown))
    else:
        write_parquet(path, **dict.fromkeys(("who", "text", "label"), ids))
    dataset = loaded(path, clients=len(ids))
    assert dataset.manifest.clients == tuple(sorted(ids))
    assert set(dataset.label_sets[""].labels) == set(ids)
    assert all(answers(dataset, one) == {one: one} for one in ids)


@given(st.lists(st.one_of(st.none(), st.integers(0, 2**64 - 1)), max_size=8))
def test_whole_numbers_of_every_width_are_their_digits(values: list[int | None]) -> None:
    column = pa.chunked_array([pa.array(values, pa.uint64())])
    assert as_texts(column).to_pylist() == [None if value is None else str(value) for value in values]


@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(-(2**53), 2**53).map(float)), max_size=8), st.data())
def test_a_float_is_the_same_text_alone_and_among_others(values: list[float | None], chosen: st.DataObject) -> None:
    found = as_texts(pa.chunked_array([pa.array(values, pa.float64())])).to_pylist()
    for value, text in zip(values, found, strict=True):
        assert as_texts(pa.chunked_array([pa.array([value], pa.float64())])).to_pylist() == [text]
        if value is None or value != value:
            assert text is None
        else:
            assert float(text) == value
            if value.is_integer() and abs(value) <= 2**53:
                assert text == str(int(value))


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([0.1, 2.0, None, float("nan"), float("inf")], pa.float32()), ["0.1", "2", None, None, "inf"]),
        (
            pa.array([1e300, 2.0**53, 2.0**53 + 2, -0.0, 1.50]),
            ["1e+300", "9007199254740992", "9007199254740994.0", "0", "1.5"],
        ),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.array([Decimal("12345678901234567890.00"), Decimal("1.50")]), ["12345678901234567890.00", "1.50"]),
        (pa.array([b"caf\xc3\xa9", None]), ["café", None]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        (pa.array([datetime(2009, 4, 6, 22, 19), None]), ["2009-04-06 22:19:00", None]),
        (pa.array([date(2009, 4, 6)]), ["2009-04-06"]),
        (pa.array([{"a": 1, "b": ["é", None], "c": True}]), ['{"a": 1, "b": ["é", null], "c": true}']),
        (pa.array([[1, 2], None]), ["[1, 2]", None]),
        (pa.array([["x", "y"], None]), [["x", "y"], None]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_typed_columns_as_texts(column: pa.Array, texts: list[Any]) -> None:
    assert as_texts(pa.chunked_array([column])).to_pylist() == texts


def test_json_numbers_stay_as_written(tmp_path: Path) -> None:
    texts = ["1e3", "1.50", "12.0", "-0.0", "123456789012345678901234567890", '{"a": [1.0, 2e1, null]}', "true"]
    lines = [f'{{"who": 7, "text": {text}, "label": "x"}}\n' for text in texts]
    (tmp_path / "t.jsonl").write_text("".join(lines) + '{"who": NaN, "text": 1, "label": "y"}\n')
    dataset = loaded(tmp_path / "t.jsonl", labels=["x"])
    assert answers(dataset, "7") == dict.fromkeys(texts, "x")
    assert dataset.notes == ("1 of 8 rows have no value in column 'who'; they are left out.",)


def test_an_empty_text_names_nobody_and_is_no_label(tmp_path: Path) -> None:
    rows = [("a", "", "x"), ("a", "t", "y"), ("", "t", "x"), ("a", "t", "")]
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps(dict(zip(("who", "text", "label"), row, strict=True))) + "\n" for row in rows)
    )
    dataset = loaded(tmp_path / "t.jsonl")
    assert answers(dataset, "a") == {"": "x", "t": "y"}
    assert dataset.notes[:2] == (
        "1 of 4 rows have no value in column 'label'; they are left out.",
        "1 of 4 rows have no value in column 'who'; they are left out.",
    )


# Class names


CLASSES = ["neg", "pos", "odd"]
README = "---\ndataset_info:\n  features:\n{}  - name: label\n    dtype:\n      class_label:\n        names:\n{}---\n"


@pytest.fixture(params=["file", "folder", "README of parquet", "README of csv", "README of jsonl"])
def classed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Rows of the classes 0 and 1, one without (-1), none of 2."""
    import datasets

    rows = {"who": ["a", "a", "a", "b"], "text": ["w", "x", "y", "z"], "label": [0, 1, -1, 1]}
    folder = tmp_path / "classed"
    folder.mkdir()
    if request.param in ("file", "folder"):
        kinds = {
            "who": datasets.Value("string"),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=CLASSES),
        }
        datasets.Dataset.from_dict(rows, datasets.Features(kinds)).to_parquet(folder / "t.parquet")
        return folder / "t.parquet" if request.param == "file" else folder
    plain = "".join(f"  - name: {name}\n    dtype: string\n" for name in ("who", "text"))
    names = "".join(f"          '{number}': {name}\n" for number, name in enumerate(CLASSES))
    (folder / "README.md").write_text(README.format(plain, names))
    listed = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
    if request.param.endswith("csv"):
        write_csv(folder / "t.csv", listed)
    elif request.param.endswith("jsonl"):
        (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))
    else:
        write_parquet(folder / "t.parquet", **rows)
    return folder


def test_classes_are_their_names(classed: Path) -> None:
    dataset = loaded(classed, clients=2)
    assert answers(dataset, "a") == {"w": "neg", "x": "pos"}
    assert dataset.label_sets[""].labels == ("neg", "pos", "odd")  # the column's own order, as for pictures
    assert dataset.notes == ("1 of 4 rows have no value in column 'label'; they are left out.",)
    assert answers(loaded(classed, clients=2, labels=["pos", "neg"]), "b") == {"z": "pos"}


@pytest.mark.parametrize("names", [{"neg": "bad", "pos": "good"}, {"0": "bad", "1": "good"}])
def test_a_class_is_named_again_by_its_name_or_number(classed: Path, names: dict[str, str]) -> None:
    dataset = loaded(classed, clients=2, label_names=names)
    assert answers(dataset, "a") == {"w": "bad", "x": "good"}
    assert dataset.label_sets[""].labels == ("bad", "good", "odd")


def test_a_number_that_is_no_class(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(README.format("", "          '0': neg\n          '1': pos\n"))
    write_csv(tmp_path / "t.csv", [{"who": "a", "text": "x", "label": 2}])
    with pytest.raises(InputError, match=r"column 'label': it holds '2', which is neither a class nor a class's number"):
        loaded(tmp_path)


def test_a_table_that_has_lost_its_class_names_is_found_again(classed: Path, tmp_path: Path) -> None:
    spec = table(classed, public_clients=0, validation=0, clients=2)
    whole = data.load(spec, 7)
    left = write_parquet(tmp_path / "left.parquet", who=["b", "a", "a"], text=["z", "x", "w"], label=[1, 1, 0])
    found = data.load(spec.model_copy(update={"source": str(left)}), 7, data.written(whole))
    assert found.shards == whole.shards


# The other loaders


def test_sentiments_and_users_of_a_table_with_gaps(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", text=["a", "b", "c"], user=[12.0, 7.0, None], sentiment=[0.0, 4.0, 4.0])
    dataset = data.load(Sent140Data(source=str(path), clients=2, minimum=1, validation=0), 7)
    assert {s.client: examples(s)[0].answer for s in dataset.shards} == {"12": "negative", "7": "positive"}


def test_authors_and_subreddits_called_like_gaps(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("author,subreddit,body\nNone,null,NA\nNone,NA,null\n007,NA,12\n7,null,12\n,NA,x\n")
    dataset = data.load(RedditData(source=str(tmp_path / "t.csv"), clients=3, minimum=1, validation=0, subreddits=2), 7)
    assert {s.client: {(e.prompt, e.answer) for e in examples(s)} for s in dataset.shards} == {
        "007": {("Comment:12\nSubreddit:", "NA")},
        "7": {("Comment:12\nSubreddit:", "null")},
        "None": {("Comment:NA\nSubreddit:", "null"), ("Comment:null\nSubreddit:", "NA")},
    }
    assert dataset.notes[0] == "1 of 5 rows have no value in column 'author'; they are left out."


def test_posts_of_numbered_users_in_parquet(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "t.parquet", OwnerUserId=[5.0, None, 5.0], Tags=[["a"], ["b"], ["b"]], Body=["x", "y", "z"]
    )
    dataset = data.load(StackOverflowData(source=str(path), clients=1, minimum=1, validation=0, tags=["a", "b"]), 7)
    assert {(s.client, e.prompt, e.answer) for s in dataset.shards for e in examples(s)} == {
        ("5", "Post:x\nTag:", "a"),
        ("5", "Post:z\nTag:", "b"),
    }


def test_a_row_of_tofu_without_an_answer_is_refused(tmp_path: Path) -> None:
    """Left out it would move the rows of all authors behind it."""
    configs = ("full", "holdout10", "real_authors", "world_facts")
    head = "".join(f"- config_name: {c}\n  data_files: {c}.csv\n" for c in configs)
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{head}---\n")
    for config in configs:
        (tmp_path / f"{config}.csv").write_text("question,answer\n" + "None,NA\n" * (20 if config == "full" else 1))
    spec = TofuData(source=str(tmp_path), clients=1, pairs=2)
    dataset = data.load(spec, 7)
    assert examples(dataset.shards[0]) == (Example("Question:None\nAnswer:", "NA"),) * 2
    assert dataset.public == (Example("Question:None\nAnswer:", "NA"),) * 3
    (tmp_path / "real_authors.csv").write_text("question,answer\nq,nan\nq,\n")
    with pytest.raises(InputError, match=r"configuration real_authors: row 1 has no value in column 'answer'"):
        data.load(spec, 7)


def test_writers_and_classes_of_pictures(tmp_path: Path) -> None:
    """Owners as floats with gaps, classes as text that looks like numbers, in a list beside the pictures."""
    from test_images import picture

    for row in range(5):
        (tmp_path / f"{row}.png").write_bytes(picture("p", row))
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            line.split(",")
            for line in ("file_name,label,writer", "0.png,007,07", "1.png,07,07", "2.png,NA,None", "3.png,,07", "4.png,NA,")
        )
    options = {"sets": [{"source": str(tmp_path)}], "client_column": "writer", "clients": 2, "minimum": 1, "validation": 0}
    dataset = data.load(ImageData.model_validate(options), 7)
    assert {s.client: {e.answer: e.image for e in examples(s)} for s in dataset.shards} == {
        "07": {"007": picture("p", 0), "07": picture("p", 1)},
        "None": {"NA": picture("p", 2)},
    }
    name = tmp_path.name
    assert f"{name}: 1 of 5 images have no label and are left out." in dataset.notes
    assert f"{name}: 1 of 5 images have no value in column 'writer' and are left out." in dataset.notes
    cells = pa.array([{"bytes": picture("p", row), "path": None} for row in range(3)])
    gaps = write_parquet(
        tmp_path / "gaps" / "t.parquet", image=cells, label=pa.array([1.0, 0.0, None]), writer=pa.array([12.0, None, 12.0])
    )
    one = data.load(ImageData.model_validate(options | {"sets": [{"source": str(gaps)}], "clients": 1}), 7)
    assert (one.shards[0].client, [e.answer for e in examples(one.shards[0])]) == ("12", ["1"])
    assert one.label_sets["t"].labels == ("0", "1")


# Labels that look alike


def test_near_twins() -> None:
    assert near_twins(["a", "b", "a b", "ab"]) == []
    assert near_twins([" pos", "Pos", "neg", "pos"]) == [
        "The labels ' pos' and 'Pos' and 'pos' differ in capitals or blanks only; each is a label of its own."
    ]
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert len(near_twins([composed, apart, "x", "x  y", "X y"])) == 2


def test_near_twins_are_told_by_every_loader(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "t.csv", [{"who": "a", "text": i, "label": label} for i, label in enumerate(("pos", " Pos", "neg"))]
    )
    (tmp_path / "r.csv").write_text("author,subreddit,body\na,Tea,x\na,tea,y\n")
    (tmp_path / "s.csv").write_text("OwnerUserId,Tags,Body\na,Tea,x\na,tea,y\n")
    for spec, twins in (
        (table(tmp_path / "t.csv", public_clients=0, clients=1), "' Pos' and 'pos'"),
        (RedditData(source=str(tmp_path / "r.csv"), clients=1, minimum=1, subreddits=2), "'Tea' and 'tea'"),
        (StackOverflowData(source=str(tmp_path / "s.csv"), clients=1, minimum=1, tags=2), "'Tea' and 'tea'"),
    ):
        note = f"The labels {twins} differ in capitals or blanks only; each is a label of its own."
        assert note in data.load(spec, 7).notes
