import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from clients.data import table
from clients.data.dataset import Dataset, Example
from clients.data.sides import draw
from clients.data.specs import TableData
from clients.errors import InputError
from clients.settings import Settings
from clients.work.site import open_site

PROMPT = "Text:{text}\nLabel:{label}"
SIZES = {"ann": 9, "bob": 5, "cid": 7, "dee": 2, "eve": 5}
# rows of one person lie apart, and labels are sorted, as they are in many real tables
ROWS = sorted(
    ({"who": who, "text": f"{who} says {i}, twice", "label": i % 3} for who, n in SIZES.items() for i in range(n)),
    key=lambda row: row["label"],
)

Write = Callable[[str, list[dict[str, Any]]], Path]


def write_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["who", "text", "label"])
        writer.writeheader()
        writer.writerows(ROWS)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "t.csv": write_csv,
    "t.jsonl": lambda path: path.write_text("".join(json.dumps(row) + "\n" for row in ROWS)),
    "t.json": lambda path: path.write_text(json.dumps(ROWS)),
    "t.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("table") / "t.jsonl"
    WRITERS["t.jsonl"](path)
    return str(path)


def spec_of(source: str | Path, **options: Any) -> TableData:
    given = {"source": str(source), "prompt": PROMPT, "minimum": 1, "clients": 5} | options
    if "partitioner" not in given:
        given.setdefault("client_column", "who")
    return TableData.model_validate(given)


def loaded(source: str | Path, seed: int = 7, **options: Any) -> Dataset:
    return table.load(spec_of(source, **options), seed)


def labels_of(dataset: Dataset) -> tuple[str, ...]:
    """The labels of the one label set that a table of texts has; their captions are the labels themselves."""
    assert list(dataset.label_sets) == [""]
    assert dataset.label_sets[""].captions == dataset.label_sets[""].labels
    return dataset.label_sets[""].labels


def all_of(dataset: Dataset) -> dict[str, Counter[Example]]:
    return {shard.client: Counter(shard.examples) for shard in dataset.shards}


def examples_of(who: str) -> Counter[Example]:
    return Counter(Example(f"Text:{r['text']}\nLabel:", str(r["label"])) for r in ROWS if r["who"] == who)


def test_every_kind_of_file_gives_the_same_shards(tmp_path: Path) -> None:
    made = []
    for name, write in WRITERS.items():
        write(tmp_path / name)
        made.append(loaded(tmp_path / name))
    folder = tmp_path / "hub"
    (folder / "main").mkdir(parents=True)
    WRITERS["t.parquet"](folder / "main" / "train.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train.parquet\n---\n"
    )
    made.append(loaded(folder, config="main"))
    assert all(dataset == made[0] for dataset in made)
    assert all_of(made[0]) == {who: examples_of(who) for who in SIZES}
    assert labels_of(made[0]) == ("0", "1", "2")
    assert made[0].manifest.metric == "accuracy"


def test_clients_kept_are_the_largest(source: str) -> None:
    assert loaded(source, clients=5).manifest.clients == ("ann", "bob", "cid", "dee", "eve")
    assert loaded(source, clients=2).manifest.clients == ("ann", "cid")
    assert loaded(source, clients=3).manifest.clients == (
        "ann",
        "bob",
        "cid",
    )  # of bob and eve, equally large, the first by name


def test_minimum_and_public_clients(source: str) -> None:
    dataset = loaded(source, clients=4, minimum=5)
    assert dataset.manifest.clients == ("ann", "bob", "cid", "eve")
    assert dataset.notes == ("1 of 5 clients have fewer than data.minimum = 5 examples.",)
    assert dataset.public == ()
    aside = loaded(source, clients=2, minimum=5, public_clients=2)
    assert aside.manifest.clients == ("bob", "eve")
    assert Counter(aside.public) == examples_of("ann") + examples_of("cid")


def test_maximum_is_drawn_by_the_seed(source: str) -> None:
    dataset = loaded(source, maximum=4)
    for shard in dataset.shards:
        mine = list(examples_of(shard.client).elements())
        assert set(shard.examples) == set(draw(shard.client, mine, 4, seed=7))


@pytest.mark.parametrize(("test", "held"), [(0.0, [0] * 5), (1, [1] * 5), (3, [3, 3, 3, 1, 3]), (6, [6, 4, 6, 1, 4])])
def test_a_number_of_examples_is_reported_and_something_is_trained_on(source: str, test: float, held: list[int]) -> None:
    dataset = loaded(source, validation=0, test=test)
    assert [len(shard.test) for shard in dataset.shards] == held
    assert [len(shard.train) for shard in dataset.shards] == [n - h for n, h in zip(SIZES.values(), held, strict=True)]
    assert all_of(dataset) == {who: examples_of(who) for who in SIZES}


def test_a_clients_split_depends_on_its_own_rows_and_the_seed(source: str, write_lines: Write) -> None:
    whole = loaded(source)
    alone = loaded(write_lines("ann.jsonl", [row for row in ROWS if row["who"] in ("ann", "dee")]), clients=2)
    assert alone.shard("ann") == whole.shard("ann")
    assert loaded(source, seed=8).shard("ann") != whole.shard("ann")


@pytest.mark.parametrize("name", ["iid", "dirichlet", "pathological", "shard"])
@pytest.mark.filterwarnings("ignore:The specified min_partition_size")
def test_partitioners_deal_no_row_twice(source: str, name: str) -> None:
    options = {"partitioner": {"name": name, "alpha": 5.0}, "clients": 4, "validation": 0, "test": 0}
    dataset = loaded(source, **options)
    assert dataset.manifest.clients == ("u0", "u1", "u2", "u3")
    dealt, everyone = sum(all_of(dataset).values(), Counter()), sum((examples_of(who) for who in SIZES), Counter())
    if name == "shard":  # flwr-datasets cuts 8 pieces of 28 // 8 rows and leaves the rest out
        assert dealt <= everyone
        assert dealt.total() == 8 * 3
    else:
        assert dealt == everyone
    assert loaded(source, **options) == dataset
    assert all_of(loaded(source, seed=8, **options)) != all_of(dataset)


@pytest.mark.filterwarnings("ignore:The specified min_partition_size")
def test_what_partitioners_promise(write_lines: Write) -> None:
    rows = [{"text": f"number {i}", "label": i // 60} for i in range(240)]  # four labels, sorted
    path = write_lines("sorted.jsonl", rows)
    counts = {}
    for name in ("iid", "pathological", "shard", "dirichlet"):
        chosen = {"name": name, "classes": 2, "shards": 2, "alpha": 0.05}
        dataset = loaded(path, partitioner=chosen, clients=8, validation=0, test=0)
        counts[name] = [Counter(example.answer for example in shard.train) for shard in dataset.shards]
    assert [sum(c.values()) for c in counts["iid"]] == [30] * 8
    assert all(set(c) == set("0123") and max(c.values()) < 20 for c in counts["iid"])  # mixed, though the table is sorted
    assert [len(c) for c in counts["pathological"]] == [2] * 8
    assert [sum(c.values()) for c in counts["shard"]] == [30] * 8
    assert max(len(c) for c in counts["shard"]) <= 3  # two pieces of 15 rows of the sorted table
    assert sum(max(c.values()) / sum(c.values()) for c in counts["dirichlet"]) / 8 > 0.7  # alpha 0.05: mostly one label


def test_label_names(source: str) -> None:
    names = {"0": "bad", "1": "so so", "2": "good"}
    dataset = loaded(source, label_names=names)
    assert labels_of(dataset) == ("bad", "good", "so so")
    assert all_of(dataset)["bob"] == Counter(Example(e.prompt, names[e.answer]) for e in examples_of("bob").elements())
    with pytest.raises(InputError, match=r"data\.label_names: no text for the label '2' of column 'label'"):
        loaded(source, label_names={"0": "bad", "1": "good"})


def test_lists_of_labels(source: str) -> None:
    assert labels_of(loaded(source, labels=["2", "1", "0", "never"])) == ("2", "1", "0", "never")
    free = loaded(source, labels=False)
    assert (free.label_sets, free.manifest.metric) == ({}, "answer_probability")
    with pytest.raises(InputError, match=r"data\.labels: column 'label' holds '1', which is not in the list"):
        loaded(source, labels=["0", "2"])


@pytest.mark.parametrize("values", [1, 201])
def test_label_columns_that_cannot_be_ranked(write_lines: Write, values: int) -> None:
    path = write_lines("labels.jsonl", [{"who": "ann", "text": "a", "label": i} for i in range(values)])
    with pytest.raises(InputError, match=rf"holds {values} different values; ranking needs 2 to 200"):
        loaded(path, clients=1)


@pytest.mark.filterwarnings("ignore:The specified min_partition_size")
def test_bad_tables_are_explained(source: str, tmp_path: Path, write_lines: Write) -> None:
    (tmp_path / "t.xlsx").write_text("what")
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"who": "ann", \n')
    scripts, other = tmp_path / "scripts", tmp_path / "other"
    for script in (scripts / "scripts.py", other / "load.py"):
        script.parent.mkdir()
        script.write_text("import datasets\n")
    (other / "README.md").write_text("# A data set\n")
    for path, options, message in (
        (tmp_path / "none.csv", {}, r"data\.source: there is no file or folder .*none\.csv"),
        ("no/such/hub/id", {}, r"data\.source: there is no file or folder no/such/hub/id"),
        ("nobody/nothing", {}, r"data\.source: cannot open nobody/nothing, split train \(no such folder here"),
        (tmp_path / "t.xlsx", {}, r"t\.xlsx is not one of \.csv, \.jsonl, \.json, \.parquet"),
        (
            scripts,
            {},
            r"data\.source: .*scripts is script-based \(scripts\.py\), and datasets no longer runs scripts: .*parquet",
        ),
        (other, {}, r"data\.source: .*other is script-based \(load\.py\), .* branch refs/convert/parquet"),
        (tmp_path / "empty", {}, r"data\.source: cannot open .*empty, split train"),
        (broken, {}, r"data\.source: cannot open .*broken\.jsonl"),
        (source, {"client_column": "user"}, r"has no column 'user'; its columns are who, text, label"),
        (source, {"prompt": "{words}{label}"}, r"has no column 'words'; its columns are"),
        (source, {"partitioner": {}, "clients": 29}, r"data\.clients: 29 clients cannot be made of 28 rows"),
        (
            source,
            {"partitioner": {"name": "dirichlet"}, "clients": 5, "minimum": 6},
            r"data\.partitioner: dirichlet cannot deal 28 rows to 5 clients",
        ),
    ):
        with pytest.raises(InputError, match=message):
            loaded(path, **options)


def test_script_based_data_sets_of_the_hub_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("Dataset scripts are no longer supported, but found tweets.py")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(InputError, match=r"someone/tweets is script-based \(tweets\.py\), .* branch refs/convert/parquet"):
        loaded("someone/tweets")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": "maine"}, r"data\.source: cannot open .*, configuration maine, split train: .*maine"),
        (
            {"config": "main", "split": "tests"},
            r"data\.source: cannot open .*, configuration main, split tests: .*\['train'\]",
        ),
    ],
)
def test_configurations_and_splits_that_there_are_not(tmp_path: Path, options: dict[str, str], message: str) -> None:
    (tmp_path / "main").mkdir()
    WRITERS["t.parquet"](tmp_path / "main" / "train.parquet")
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train.parquet\n---\n"
    )
    with pytest.raises(InputError, match=message):
        loaded(tmp_path, **options)


def test_rows_without_a_value_are_left_out_with_a_note(write_lines: Write) -> None:
    gaps = [{"who": "ann", "text": None, "label": 1}, {"who": None, "text": "b", "label": 1}]
    path = write_lines("gaps.jsonl", [*ROWS[:4], *gaps, *ROWS[4:]])
    dataset = loaded(path)
    assert all_of(dataset) == {who: examples_of(who) for who in SIZES}
    assert dataset.notes == (
        "1 of 30 rows have no value in column 'text'; they are left out.",
        "1 of 30 rows have no value in column 'who'; they are left out.",
    )


def test_too_few_clients_are_explained(source: str, tiny_settings: Settings) -> None:
    """Through open_site, as a run does it."""
    chosen = spec_of(source, clients=5, minimum=5)
    with pytest.raises(InputError, match=r"data\.clients: 5 clients asked for, .* has 4\. 1 of 5 clients have fewer than"):
        open_site(tiny_settings.model_copy(update={"data": chosen}))


def test_a_table_and_patterns_make_a_site(source: str, tiny_settings: Settings) -> None:
    """Settings with lists and dictionaries in them are opened once per process like any others."""
    model = tiny_settings.model.model_copy(update={"tune": ["*.mlp.*"]})
    data = spec_of(source, clients=3, public_clients=1, label_names={"0": "bad", "1": "so so", "2": "good"})
    settings = tiny_settings.model_copy(update={"data": data, "model": model})
    site = open_site(settings)
    assert open_site(Settings.model_validate_json(settings.model_dump_json())) is site
    assert site.manifest.clients == ("bob", "cid", "eve")
    assert all(".mlp." in name for name in site.model.layout.names)


@pytest.mark.parametrize(
    "template",
    [
        "",
        "Text",
        "{label}",
        "{text}{}",
        "{text} {label}.",
        "{text {label}",
        "{text}{label!r}",
        "{text}{label:>5}",
        "{{text}}{label}",
    ],
)
def test_bad_templates(source: str, template: str) -> None:
    with pytest.raises(ValidationError, match="template"):
        spec_of(source, prompt=template)


def test_good_templates(source: str) -> None:
    dataset = loaded(source, prompt="{{{text}}} of {who}: {label}")
    assert dataset.shard("dee").train[0].prompt in ("{dee says 0, twice} of dee: ", "{dee says 1, twice} of dee: ")


def test_one_way_to_deal(source: str) -> None:
    for options in ({"client_column": None}, {"client_column": "who", "partitioner": {"name": "iid"}}):
        with pytest.raises(ValidationError, match="either client_column or partitioner"):
            TableData.model_validate({"source": source, "prompt": PROMPT} | options)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_group_is_what_most_of_a_clients_rows_say(tmp_path: Path, suffix: str) -> None:
    """As written: 07 is not 7. A row without a value stays; of as many the lowest text counts."""
    says = {"ann": ["07", "7", "07", None], "bob": ["FR", "DE", None, None], "cid": [None] * 4}
    rows = [
        {"who": who, "text": f"{who} {n}", "label": "ab"[n % 2], "land": land}
        for who, lands in says.items()
        for n, land in enumerate(lands)
    ]
    path = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        lines = ["who,text,label,land", *(",".join(value or "" for value in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain, grouped = (loaded(path, clients=3, public_clients=0, minimum=2, group_column=column) for column in (None, "land"))
    assert {shard.client: shard.group for shard in grouped.shards} == {"ann": "07", "bob": "DE", "cid": ""}
    assert {shard.client: len(shard.examples) for shard in grouped.shards} == {"ann": 4, "bob": 4, "cid": 4}
    assert [shard.digest() for shard in grouped.shards] == [shard.digest() for shard in plain.shards]
    with pytest.raises(InputError, match="has no column 'country'"):
        loaded(path, clients=3, public_clients=0, minimum=2, group_column="country")
    with pytest.raises(ValidationError, match="group_column needs client_column"):
        spec_of(path, client_column=None, partitioner={"name": "iid"}, group_column="land")


def test_two_folders_of_one_name_are_two(tmp_path: Path) -> None:
    """The library's cache knows a folder by its name and README alone."""
    found = []
    for number in (1, 2):
        folder = tmp_path / str(number) / "mine"
        (folder / "main").mkdir(parents=True)
        (folder / "README.md").write_text(
            "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train.parquet\n---\n"
        )
        rows = [{"who": "ann", "text": f"{number} {i}", "label": i % 2} for i in range(4)]
        pq.write_table(pa.Table.from_pylist(rows), folder / "main" / "train.parquet")
        found.append({e.prompt for e in loaded(folder, config="main", clients=1, validation=0, test=0).shards[0].train})
    rows = [{"who": "ann", "text": f"3 {i}", "label": i % 2} for i in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "main" / "train.parquet")
    found.append({e.prompt for e in loaded(folder, config="main", clients=1, validation=0, test=0).shards[0].train})
    assert found == [{f"Text:{n} {i}\nLabel:" for i in range(4)} for n in (1, 2, 3)]
