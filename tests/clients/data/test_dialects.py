"""How text files may be written, what is said of those that cannot be read, and names of columns."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from small_tables import examples, table

from clients.data import loaders as data
from clients.data.dataset import Dataset, Example, columns, fill
from clients.data.specs import RedditData, Sent140Data, StackOverflowData
from clients.errors import InputError

WANTED = {Example("Text:é, 1\nLabel:", "x"), Example("Text:2;|\nLabel:", "y")}


def loaded(source: Path, **options: Any) -> Dataset:
    return data.load(table(source, **{"clients": 1, "public_clients": 0, "validation": 0} | options), 7)


def csv_of(mark: str = ",", header: bool = True, end: str = "\n") -> str:
    lines = [["who", "text", "label"]] * header + [["a", '"é, 1"', "x"], ["a", '"2;|"', "y"]]
    return "".join(mark.join(line) + end for line in lines)


def jsonl() -> str:
    rows = ({"who": "a", "text": "é, 1", "label": "x"}, {"who": "a", "text": "2;|", "label": "y"})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "text", "encoding", "options"),
    [
        ("t.csv", csv_of(), "utf-8", {}),
        ("T.CSV", csv_of(), "utf-8-sig", {}),
        ("t.csv", csv_of(end="\r\n"), "utf-8", {}),
        ("t.csv.gz", csv_of(), "utf-8", {}),
        ("t.tsv", csv_of("\t"), "utf-8", {}),
        ("t.tsv.gz", csv_of("\t"), "utf-8", {}),
        ("t.csv", csv_of(";"), "utf-8", {"delimiter": ";"}),
        ("t.tsv", csv_of("|"), "utf-8", {"delimiter": "|"}),
        ("t.csv", csv_of("\t"), "utf-8", {"delimiter": "\\t"}),
        ("t.csv", csv_of(), "latin-1", {"encoding": "latin-1"}),
        ("t.csv.gz", csv_of(";"), "cp1252", {"encoding": "cp1252", "delimiter": ";"}),
        ("t.csv", csv_of(), "utf-16", {"encoding": "utf-16"}),
        ("t.csv", csv_of(header=False), "utf-8", {"columns": ["who", "text", "label"]}),
        ("t.tsv", csv_of("\t", header=False), "utf-8", {"columns": ["who", "text", "label"]}),
        ("t.jsonl", jsonl(), "utf-8-sig", {}),
        ("t.jsonl.gz", jsonl(), "utf-8", {}),
        ("t.ndjson", jsonl(), "utf-8", {}),
        ("t.jsonl", jsonl(), "utf-16", {"encoding": "utf-16"}),
        ("t.json", f"[{','.join(jsonl().splitlines())}]", "latin-1", {"encoding": "latin-1"}),
        ("t.json.gz", f"[{','.join(jsonl().splitlines())}]", "utf-8", {}),
    ],
)
@pytest.mark.parametrize("folder", [False, True])
def test_every_way_of_writing_gives_the_same_rows(
    tmp_path: Path, name: str, text: str, encoding: str, options: dict[str, Any], folder: bool
) -> None:
    path = tmp_path / "in" / name
    path.parent.mkdir()
    path.write_bytes(gzip.compress(text.encode(encoding)) if name.endswith(".gz") else text.encode(encoding))
    dataset = loaded(path.parent if folder and name == name.lower() else path, **options)
    assert (dataset.manifest.clients, set(examples(dataset.shards[0]))) == (("a",), WANTED)


def test_a_folder_of_two_dialects(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("who,text,label\na,1,x\n")
    (tmp_path / "b.tsv").write_text("who\ttext\tlabel\na\t2,3\ty\n")
    assert {e.prompt for e in examples(loaded(tmp_path).shards[0])} == {"Text:1\nLabel:", "Text:2,3\nLabel:"}


def test_what_a_readme_says_of_csv_files_holds_unless_the_scenario_says_otherwise(tmp_path: Path) -> None:
    head = "---\nconfigs:\n- config_name: main\n  data_files: t.csv\n  sep: ';'\n  na_values: gone\n---\n"
    (tmp_path / "README.md").write_text(head)
    (tmp_path / "t.csv").write_text("who;text;label\na;NA;x\na;gone;x\na;2;y\n")
    dataset = loaded(tmp_path, config="main")
    assert {e.prompt for e in examples(dataset.shards[0])} == {"Text:NA\nLabel:", "Text:2\nLabel:"}
    (tmp_path / "t.csv").write_text("who|text|label\na|NA|x\na|2|y\n")
    assert {e.prompt for e in examples(loaded(tmp_path, config="main", delimiter="|").shards[0])} == {
        "Text:NA\nLabel:",
        "Text:2\nLabel:",
    }


@pytest.mark.parametrize(
    "spec",
    [
        Sent140Data(source="", prompt="{text}{sentiment}"),
        RedditData(source="", prompt="{text}{subreddit}", subreddits=["0", "4"]),
        StackOverflowData(source="", prompt="{text}{tag}", tags=["0", "4"], user_column="user", tags_column="sentiment"),
    ],
)
def test_the_other_families_read_dialects_too(tmp_path: Path, spec: Any) -> None:
    (tmp_path / "t.csv").write_bytes("é;4;0;a;a;b\nx;0;4;a;a;b\n".encode("latin-1"))
    names = ("text", "sentiment", "subreddit", "user", "author", "body")
    given = {"source": str(tmp_path / "t.csv"), "delimiter": ";", "encoding": "latin-1", "columns": names}
    more = {"clients": 1, "minimum": 1, "validation": 0}
    dataset = data.load(spec.model_copy(update=given | more), 7)
    assert {example.prompt for example in examples(dataset.shards[0])} == {"é", "x"}


def test_a_dialect_of_what_is_no_text_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"who": ["a"], "text": ["x"], "label": ["y"]}), tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text(jsonl())
    for name, key, value, kinds in (
        ("t.parquet", "encoding", "latin-1", "CSV and JSON"),
        ("t.parquet", "delimiter", ";", "CSV"),
        ("t.jsonl", "columns", ["who", "text", "label"], "CSV"),
    ):
        with pytest.raises(InputError, match=rf"data\.{key}: it says how local {kinds} files are written, and .*{name} has"):
            loaded(tmp_path / name, **{key: value})
    with pytest.raises(
        InputError, match=r"data\.delimiter: it says how local CSV files are written, and microblog has none"
    ):
        data.load(Sent140Data(source="microblog", delimiter=";"), 7)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", b"who,text,label\na,1,x\na,2,y,z\n", r"t\.csv: line 3: 4 cells, and there are 3 columns"),
        ("t.csv", b"who,text,label\na,1,x,\na,2,y,\n", r"t\.csv: the first row has 4 cells, and there are 3 columns"),
        ("t.csv", b'who,text,label\na,1,x\na,"2,y\n', r"t\.csv: line 3: a quoted cell has no end"),
        (
            "t.csv",
            b"who,text,label\na,1,x\na,\xe9,y\n",
            r"t\.csv, line 3: byte 0xe9 at column 3 is not utf-8; set data\.enc",
        ),
        ("t.csv", b"who,text,text,label\na,1,2,x\n", r"t\.csv: 2 columns are called 'text'; give each a name of its own"),
        ("t.csv", b"", r"t\.csv: No columns to parse from file"),
        ("t.csv.gz", b"who,text", r"Not a gzipped file"),
        ("t.jsonl", b'{"who": 1}\n{"who": "a",\n', r"t\.jsonl, line 2, column 13: Expecting property name"),
        ("t.jsonl", b'{"who": 1}\n[1]\n', r"t\.jsonl holds list where one object per row is needed, row 2"),
        ("t.jsonl", b'{"who": 1}\n{"who": "\xff"}\n', r"t\.jsonl, line 2: byte 0xff at column 10 is not utf-8"),
        ("t.json", b'[{"who": 1},\n {"who" 2}]', r"t\.json, line 2, column 9: Expecting ':' delimiter"),
        ("t.parquet", b"PAR1", r"t\.parquet: "),
    ],
)
@pytest.mark.parametrize("folder", [False, True])
def test_why_a_file_cannot_be_read(tmp_path: Path, name: str, text: bytes, message: str, folder: bool) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(text)
    source = tmp_path / "in" if folder else tmp_path / "in" / name
    with pytest.raises(InputError, match=r"data\.source: cannot open .*, split train: " + message):
        loaded(source)


def test_the_inner_reason_of_the_librarys_errors(tmp_path: Path) -> None:
    """Arrow files are read by the library, which says of any error that one occurred."""
    (tmp_path / "t.arrow").write_bytes(b"not arrow")
    with pytest.raises(InputError, match=r"cannot open .*, split train: (?!An error occurred)"):
        loaded(tmp_path)


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("who; text;label\na;1;x\n")
    with pytest.raises(InputError, match=r"has no column 'text', 'label', 'who'; .*; is data\.delimiter ';'\?"):
        loaded(tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"has no column 'text'; its columns are who, ' text', label$"):
        loaded(tmp_path / "t.csv", delimiter=";")


def test_labels_that_are_lacking_are_explained_by_what_was_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("who,text,label\na,1,x\na,2\n")
    with pytest.raises(InputError, match=r"holds 1 different values; .*\. 1 of 2 rows have no value in column 'label'"):
        loaded(tmp_path / "t.csv")


# Names of columns in a prompt

NAMES = ["user.name", "my text", "a[0]", "a.b[c].d", "0", "né", "lábel.x"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_columns_name_is_taken_literally(tmp_path: Path, kind: str) -> None:
    rows = [{name: f"{row} {place}" for place, name in enumerate(NAMES)} for row in "xy"]
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text("\n".join(",".join(line) for line in (NAMES, *(row.values() for row in rows))))
    prompt = "{user.name}|{{}}{my text}|{a[0]}|{a.b[c].d}|{0}|{né} {lábel.x}"
    dataset = loaded(path, prompt=prompt, client_column="user.name", clients=2)
    assert examples(dataset.shard("x 0")) == (Example("x 0|{}x 1|x 2|x 3|x 4|x 5 ", "x 6"),)
    assert columns(prompt) == NAMES


def test_a_value_is_not_taken_for_a_template() -> None:
    assert fill("{{{a}}} {b.c}: {d}", {"a": "{b.c}", "b.c": "{0}", "d": "{"}) == Example("{{b.c}} {0}: ", "{")


@pytest.mark.parametrize("prompt", ["{a!r}{b}", "{a:>5}{b}", "{a:.2f}{b}", "{a:%Y}{b}", "{a}{b:c}", "{a!s:3}{b}"])
def test_formats_are_refused(prompt: str) -> None:
    with pytest.raises(ValidationError, match=r"in braces a prompt template has a column's name alone"):
        table("t.csv", prompt=prompt)


def test_reading_goes_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one block of rows lacks, another has."""
    monkeypatch.setattr("clients.data.text_files.BLOCK", 2)
    rows = [("a", "1", "x"), ("a", "", "x"), ("", "", ""), ("", "", ""), ("a", "5", "y")]
    text = io.StringIO("who,text,label\n" + "".join(",".join(row) + "\n" for row in rows)).getvalue()
    (tmp_path / "t.csv").write_text(text)
    dataset = loaded(tmp_path / "t.csv")
    assert {e.prompt for e in examples(dataset.shards[0])} == {"Text:1\nLabel:", "Text:5\nLabel:"}
    assert dataset.notes[0] == "3 of 5 rows have no value in column 'text'; they are left out."
