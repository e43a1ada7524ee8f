"""Which files of a folder are read, and which rows a split takes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tables import examples, table
from test_images import picture

from clients.data import loaders as data
from clients.data.specs import ImageData, Sent140Data
from clients.data.splits import parts, splits_of
from clients.errors import InputError

ROWS = [{"who": "a", "text": str(number), "label": "xy"[number % 2]} for number in range(10)]
Write = Callable[[Path], Any]
WRITERS: dict[str, Write] = {
    "t.csv": lambda path: path.write_text("who,text,label\n" + "".join(",".join(row.values()) + "\n" for row in ROWS)),
    "t.jsonl": lambda path: path.write_text("".join(json.dumps(row) + "\n" for row in ROWS)),
    "t.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
    "train.csv": lambda path: WRITERS["t.csv"](path),
}
SPLITS = {
    "train": range(10),
    "train[:4]": range(4),
    "train[20%:50%]": range(2, 5),
    "train[-3:]": range(7, 10),
    "train[:2]+train[8:]": [0, 1, 8, 9],
}


def texts(source: Path | str, **options: Any) -> set[str]:
    options = {"clients": 1, "public_clients": 0, "validation": 0, "labels": False} | options
    dataset = data.load(table(source, **options), 7)
    return {example.prompt[5:-7] for shard in dataset.shards for example in examples(shard)}


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_a_split_of_one_file_is_honoured(tmp_path: Path, name: str, folder: bool) -> None:
    WRITERS[name](tmp_path / name)
    source = tmp_path if folder else tmp_path / name
    for split, rows in SPLITS.items():
        assert texts(source, split=split) == {str(row) for row in rows}
    for split in ("test", "train+test", "train[:x]"):
        with pytest.raises(InputError, match=r"data\.source: cannot open .*, split t.*: Un(known split|recognized instr)"):
            texts(source, split=split)


def test_a_split_of_an_embedded_table_is_honoured() -> None:
    few = data.load(Sent140Data(source="microblog", split="train[:50%]", clients=20, minimum=1), 7)
    whole = data.load(Sent140Data(source="microblog", clients=20, minimum=1, maximum=10**6), 7)
    assert (
        0 < sum(map(len, map(few.rows_of, few.manifest.clients))) < sum(map(len, map(whole.rows_of, whole.manifest.clients)))
    )
    with pytest.raises(InputError, match=r"data\.split: microblog has no split 'test\[:3\]', only 'train'"):
        data.load(Sent140Data(source="microblog", split="test[:3]"), 7)


def test_a_split_of_pictures_in_one_file(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": picture("p", row), "path": None}, "label": str(row % 2)} for row in range(10)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    options = {"clients": 1, "minimum": 1, "maximum": 20, "validation": 0}
    one = {"source": str(tmp_path / "t.parquet"), "split": "train[2:6]"}
    dataset = data.load(ImageData.model_validate(options | {"sets": [one]}), 7)
    assert {example.image for example in examples(dataset.shards[0])} == {picture("p", row) for row in range(2, 6)}
    with pytest.raises(InputError, match=r"data\.sets: t: cannot open .*t\.parquet, split test: Unknown split"):
        data.load(ImageData.model_validate(options | {"sets": [one | {"split": "test"}]}), 7)


@given(
    st.lists(st.tuples(st.sampled_from(["train", "test"]), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4),
    st.integers(0, 12),
    st.integers(0, 12),
)
def test_parts_are_pythons_slices(asked: list[tuple[str, int, int]], train: int, test: int) -> None:
    lengths = {"train": train, "test": test}
    split = "+".join(f"{name}[{start}:{stop}]" for name, start, stop in asked)
    found = [(part.split, row) for part in parts(split, lengths) for row in range(part.start, part.stop)]
    assert found == [(name, row) for name, start, stop in asked for row in range(lengths[name])[start:stop]]


LAYOUTS: dict[str, tuple[list[str], dict[str, list[str]]]] = {
    "words in names say nothing": (
        ["dev-team.csv", "test_users.csv", "users_a.csv", "latest.csv"],
        {"train": ["dev-team.csv", "test_users.csv", "users_a.csv", "latest.csv"]},
    ),
    "no file is called train": (["test.csv", "users.csv"], {"train": ["test.csv", "users.csv"]}),
    "one alone is called test": (["test.csv"], {"test": ["test.csv"]}),
    "one is called train": (
        ["extra.csv", "test.csv", "train.csv"],
        {"test": ["test.csv"], "train": ["train.csv"]},
    ),
    "all are called something": (
        ["dev.csv", "eval.csv", "training_0.csv", "train-1.csv.gz", "val.csv"],
        {"validation": ["dev.csv", "val.csv"], "test": ["eval.csv"], "train": ["training_0.csv", "train-1.csv.gz"]},
    ),
    "a number is no word": (["train.2.csv", "train_b.csv"], {"train": ["train.2.csv", "train_b.csv"]}),
    "the hub's": (
        [
            "data/test-00000-of-00001.parquet",
            "data/train-00000-of-00002-ab12.parquet",
            "data/train-00001-of-00002-cd.parquet",
        ],
        {
            "test": ["data/test-00000-of-00001.parquet"],
            "train": ["data/train-00000-of-00002-ab12.parquet", "data/train-00001-of-00002-cd.parquet"],
        },
    ),
    "the hub's with splits of any name": (
        ["data/forget01-00000-of-00001.parquet", "data/retain-00000-of-00001.parquet"],
        {"forget01": ["data/forget01-00000-of-00001.parquet"], "retain": ["data/retain-00000-of-00001.parquet"]},
    ),
    "parts of one table": (
        ["users-00000-of-00002.parquet", "users-00001-of-00002.parquet"],
        {"train": ["users-00000-of-00002.parquet", "users-00001-of-00002.parquet"]},
    ),
    "folders": (["a/train/x.csv", "a/test/y.csv"], {"train": ["a/train/x.csv"], "test": ["a/test/y.csv"]}),
    "not all in folders": (["train/x.csv", "more/y.csv"], {"train": ["train/x.csv", "more/y.csv"]}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_splits_of_names(name: str) -> None:
    files, expected = LAYOUTS[name]
    root = Path("/somewhere/train/test")  # what is above the folder says nothing
    found = splits_of(root, [root / file for file in files], pictures=False)
    assert {split: [str(file.relative_to(root)) for file in mine] for split, mine in found.items()} == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["bus/test_0.png", "car/train.png"], {"train": ["bus/test_0.png", "car/train.png"]}),
        (["train/x.png", "bus/y.png"], {"train": ["train/x.png", "bus/y.png"]}),
        (["train/bus/x.png", "test/car/y.png"], {"train": ["train/bus/x.png"], "test": ["test/car/y.png"]}),
    ],
)
def test_splits_of_pictures(files: list[str], expected: dict[str, list[str]]) -> None:
    found = splits_of(Path("/p"), [Path("/p") / file for file in files], pictures=True)
    assert {split: [str(file.relative_to("/p")) for file in mine] for split, mine in found.items()} == expected


def write(folder: Path, *names: str) -> None:
    """One row each, whose text is the file's name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"who,text,label\na,{Path(name).name},x\n")


def notes(folder: Path, **options: Any) -> tuple[str, ...]:
    return data.load(table(folder, public_clients=0, clients=1, labels=False, **options), 7).notes


def test_files_that_are_read_and_those_that_are_not(tmp_path: Path) -> None:
    write(tmp_path / "a", "users_a.csv", "test_users.csv")
    assert texts(tmp_path / "a") == {"users_a.csv", "test_users.csv"}
    assert notes(tmp_path / "a") == ("All 2 files are read as split train: test_users.csv, users_a.csv.",)
    write(tmp_path / "b", "train.csv", "test.csv", *(f"more {number}.csv" for number in range(4)))
    (tmp_path / "b" / "notes.jsonl").write_text("{}\n")
    assert texts(tmp_path / "b") == {"train.csv"}
    assert texts(tmp_path / "b", split="test+train[:1]") == {"test.csv", "train.csv"}
    assert notes(tmp_path / "b") == (
        "Split train is read from train.csv; not read: more 0.csv, more 1.csv, more 2.csv and 3 more.",
    )
    write(tmp_path / "c", "only.csv")
    assert notes(tmp_path / "c") == ()
    write(tmp_path / "d", "one/a.csv", "two/b.csv")
    (tmp_path / "d" / "README.md").write_text("---\nconfigs:\n- config_name: main\n  data_files: one/*.csv\n---\n")
    assert texts(tmp_path / "d", config="main") == {"a.csv"}
    assert notes(tmp_path / "d", config="main") == ("Split train is read from one/a.csv; not read: two/b.csv.",)
    write(tmp_path / "e", "test.csv")
    with pytest.raises(InputError, match=r"split train: Unknown split \"train\"\. Should be one of \['test'\]"):
        texts(tmp_path / "e")


def test_classes_called_train_and_test(tmp_path: Path) -> None:
    for row, name in enumerate(["train/a.png", "train/b.png", "bus/test_1.png", "test/c.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture("p", row))
    options = {"sets": [{"source": str(tmp_path)}], "clients": 1, "minimum": 1, "maximum": 9, "validation": 0}
    dataset = data.load(ImageData.model_validate(options), 7)
    assert {example.image: example.answer for example in examples(dataset.shards[0])} == {
        picture("p", 0): "train",
        picture("p", 1): "train",
        picture("p", 2): "bus",
        picture("p", 3): "test",
    }
    assert len(dataset.notes) == 1  # none on files: all are read


def test_pictures_in_folders_of_splits(tmp_path: Path) -> None:
    for row, name in enumerate(["train/bus/a.png", "train/car/b.png", "test/car/c.png"]):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(picture("p", row))
    options = {"clients": 1, "minimum": 1, "maximum": 9, "validation": 0}
    for split, rows in (("train", {0, 1}), ("test", {2}), ("train[:1]+test", {0, 2})):
        dataset = data.load(ImageData.model_validate(options | {"sets": [{"source": str(tmp_path), "split": split}]}), 7)
        assert {example.image for example in examples(dataset.shards[0])} == {picture("p", row) for row in rows}
    assert len(dataset.notes) == 1
    one = data.load(ImageData.model_validate(options | {"sets": [{"source": str(tmp_path)}]}), 7)
    assert any(
        note.endswith("Split train is read from train/bus/a.png, train/car/b.png; not read: test/car/c.png.")
        for note in one.notes
    )
