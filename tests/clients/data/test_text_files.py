"""A value of a CSV or JSON file is what is written, whatever other rows hold."""

from pathlib import Path

import pytest
from small_tables import (
    SOURCES,
    Row,
    prompts,
    table,
    write_jsonl,
)

from clients.data import loaders as data
from clients.errors import InputError

NUMBERS = [
    {"who": "7", "text": "07", "label": "1"},
    {"who": "7", "text": "7.0", "label": "1"},
    {"who": "7", "text": "2009-04-06 22:19:45", "label": "1"},
    {"who": "8", "text": "words", "label": "yes"},
    {"who": "", "text": "nobody's", "label": "1"},
    {"who": "8", "text": "true", "label": ""},
]


@pytest.mark.parametrize("name", ["t.csv", "folder of csv", "folder of tsv"])
def test_csv_values_do_not_depend_on_other_rows(tmp_path: Path, name: str) -> None:
    """Without client 8 and the gaps every column is of numbers or dates."""
    spec = table(tmp_path / name, clients=2, public_clients=0, validation=0, test=0)
    SOURCES[name](tmp_path / name, NUMBERS)
    whole = data.load(spec, 7)
    expected = {"07", "7.0", "2009-04-06 22:19:45"}
    assert prompts(whole.shard("7")) == {f"Text:{text}\nLabel:" for text in expected}
    assert whole.label_sets[""].labels == ("1", "yes")
    (tmp_path / "left").mkdir()
    SOURCES[name](tmp_path / "left" / name, NUMBERS[:3])
    left = data.load(spec.model_copy(update={"source": str(tmp_path / "left" / name)}), 7, data.written(whole))
    assert left.shard("7") == whole.shard("7")
    assert left.manifest.gone == ("8",)


def test_json_values_do_not_depend_on_other_rows(tmp_path: Path) -> None:
    """A number stays whole where another row has a fraction, a date stays a text where all rows have one."""
    rows: list[Row] = [
        {"who": 7, "text": 1, "label": "2009-04-06"},
        {"who": 7, "text": True, "label": "2009-04-06"},
        {"who": 7, "text": {"b": 1}, "label": "2009-04-06"},
        {"who": 8.5, "text": 2.5, "label": 3},
        {"who": None, "text": "x", "label": "y"},
        {"who": 8.5, "text": {"a": [1, "x"]}, "label": 3, "more": 1},
    ]
    write_jsonl(tmp_path / "t.jsonl", rows)
    spec = table(tmp_path / "t.jsonl", clients=2, public_clients=0, validation=0, test=0)
    whole = data.load(spec, 7)
    assert whole.manifest.clients == ("7", "8.5")
    assert prompts(whole.shard("7")) == {f"Text:{text}\nLabel:" for text in ("1", "true", '{"b": 1}')}
    assert prompts(whole.shard("8.5")) == {f"Text:{text}\nLabel:" for text in ("2.5", '{"a": [1, "x"]}')}
    assert whole.label_sets[""].labels == ("2009-04-06", "3")
    write_jsonl(tmp_path / "t.jsonl", rows[:3])
    assert data.load(spec, 7, data.written(whole)).shard("7") == whole.shard("7")


def test_a_column_of_lists_and_texts_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "t.jsonl", [{"who": "a", "text": ["x"], "label": "y"}, {"who": "a", "text": "x", "label": "y"}])
    with pytest.raises(InputError, match=r"cannot open .*t\.jsonl, split train: column 'text' holds lists and other values"):
        data.load(table(tmp_path / "t.jsonl"), 7)
    (tmp_path / "t.jsonl").write_text('"who"\n')
    with pytest.raises(InputError, match=r"t\.jsonl holds str where one object per row is needed"):
        data.load(table(tmp_path / "t.jsonl"), 7)
