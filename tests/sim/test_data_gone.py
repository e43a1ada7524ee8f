"""After a deletion the rows are erased from the source as well: the run lives on, whatever the source and whoever deals."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_scenario import tiny

from clients.data.dataset import fill
from clients.errors import InputError
from clients.work.site import HERE
from sim.life.ledger import read
from sim.life.life import open_life
from sim.life.saved import open_run
from sim.life.summary import read_rows
from sim.proof.verify import verify
from sim.report.report import write_report
from sim.run import forget, join, resume, run_scenario

Row = dict[str, Any]
PROMPT = "{text}\nmood:{mood}"
STRATEGIES: list[Any] = [
    "average",
    {"sift_masks": {"keep": 0.5, "scale": "counts"}},
    {"sisa": {"shards": 2, "slices": 2, "steps": 2, "batch": 8}},
]
MOODS = ["glad", "sad", "calm"]


def rows() -> list[Row]:
    """Eight people with 8 to 11 lines each, four of them public; no two lines alike."""
    return [
        {"who": f"p{person}", "text": f"{person * 37 + line} says line {line}", "mood": MOODS[(person + line) % 3]}
        for line in range(11)
        for person in range(10)
        if line < 8 + person % 4
    ]


def as_csv(path: Path, table: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["who", "text", "mood"])
        writer.writeheader()
        writer.writerows(table)


def as_jsonl(path: Path, table: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in table))


def as_parquet(path: Path, table: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(table), path)


def as_hub(path: Path, table: list[Row]) -> None:
    """Two parquet files of one split, and a card that names a configuration, as on the hub."""
    shutil.rmtree(path, ignore_errors=True)
    half = len(table) // 2
    as_parquet(path / "moods" / "train-00000-of-00002.parquet", table[:half])
    as_parquet(path / "moods" / "train-00001-of-00002.parquet", table[half:])
    card = "configs:\n- config_name: moods\n  data_files:\n  - split: train\n    path: moods/train-*\n"
    (path / "README.md").write_text(f"---\n{card}---\n")


@dataclass(frozen=True)
class Source:
    """One way to hold the table."""

    name: str
    write: Callable[[Path, list[Row]], None]
    more: dict[str, Any]


SOURCES = [
    Source("t.csv", as_csv, {}),
    Source("t.jsonl", as_jsonl, {}),
    Source("folder/data.parquet", as_parquet, {}),
    Source("hub", as_hub, {"config": "moods"}),
]
DEALT = {
    "column": {"client_column": "who", "clients": 6, "public_clients": 3},
    "iid": {"partitioner": {"name": "iid"}, "clients": 6, "public_clients": 3},
    "dirichlet": {"partitioner": {"name": "dirichlet", "alpha": 5.0}, "clients": 5, "public_clients": 2},
}
CASES = [(source, "column") for source in SOURCES] + [(SOURCES[0], "iid"), (SOURCES[3], "iid"), (SOURCES[1], "dirichlet")]


def place(source: Source, folder: Path) -> Path:
    """What the scenario names: the file, or the folder that it is in."""
    return folder / source.name if source.name.startswith("t.") or source.name == "hub" else folder / "folder"


def erase(source: Source, folder: Path, gone: set[str]) -> None:
    """Write the source again without the rows that have these keys."""
    left = [row for row in rows() if fill(PROMPT, row).key not in gone]
    assert len(rows()) - len(left) == len(gone)
    source.write(folder / source.name, left)
    HERE.__init__()  # type: ignore[misc]  # as in a new process, which reads the source again


def keys_of(run: Path, client: str) -> set[str]:
    """The keys of a client's examples, as the run's population has them."""
    opened = open_run(run)
    mine = open_life(run, opened.scenario, 7, opened.ledger, opened.commands).system.population.examples[client]
    return set(mine.all)


def digests(run: Path) -> dict[str, str]:
    told = json.loads((run / "summary.json").read_text())["strategies"]
    return {label: strategy["state_digest"] for label, strategy in told.items()}


SLOW = {("t.jsonl", "column"), ("hub", "iid")}
"""Of whom the parts are tried by others of the cases."""


@pytest.mark.parametrize(
    ("source", "dealt"),
    [
        pytest.param(*case, id="-".join(name), marks=[pytest.mark.slow] if name in SLOW else [])
        for case in CASES
        for name in [(case[0].name, case[1])]
    ],
)
def test_the_run_lives_on_after_the_rows_of_the_forgotten_are_erased(source: Source, dealt: str, tmp_path: Path) -> None:
    source.write(tmp_path / source.name, rows())
    data = {"family": "table", "source": str(place(source, tmp_path)), "prompt": PROMPT, "labels": MOODS, "minimum": 4}
    data |= DEALT[dealt] | {"validation": 2} | source.more
    stream = {"join": DEALT[dealt]["clients"] - 1, "requests": 0}  # type: ignore[operator]
    run = run_scenario(tiny(data=data, strategies=STRATEGIES, stream=stream, audit=[]), tmp_path / "run")
    members = {line["client"] for line in read(run / "ledger.jsonl") if line["event"] == "join"}
    first, second, third, *_ = sorted(members)
    (newcomer,) = set(open_life(run, (o := open_run(run)).scenario, 7, o.ledger).system.population.clients) - members
    gone = keys_of(run, first)
    untouched = Path(shutil.copytree(run, tmp_path / "untouched"))
    forget(run, first)
    erase(source, tmp_path, gone)
    assert verified(run)

    some = sorted(keys_of(run, second))[:2]
    rows_now = data_of(run).rows_of(second)
    forget(run, second, [rows_now.index(key) for key in some])
    erase(source, tmp_path, gone | set(some))
    forget(run, third)
    join(run, newcomer)
    write_report(run)
    assert verified(run)
    with pytest.raises(InputError, match=rf"--client {first}: "):
        join(run, first)  # nothing of it is there any more

    source.write(tmp_path / source.name, rows())  # the same requests, with all rows there
    forget(untouched, first)
    forget(untouched, second, [data_of(untouched).rows_of(second).index(key) for key in some])
    forget(untouched, third)
    join(untouched, newcomer)
    assert digests(untouched) == digests(run)
    there, here = (
        {(r["strategy"], r["events"], r["client"]): r["value"] for r in read_rows(each)} for each in (untouched, run)
    )
    assert there.keys() == here.keys()
    lacking = {(events, client) for (_, events, client), value in here.items() if value is None}
    # Nobody knows any more which rows a partitioner gave to a client, once it is forgotten and the table is another.
    unknown = {(4, third)} if "partitioner" in DEALT[dealt] else set()
    assert lacking == {(events, first) for events in (2, 3, 4)} | unknown
    assert {key: value for key, value in here.items() if value is not None} == {
        key: value for key, value in there.items() if here[key] is not None
    }
    assert json.loads((run / "summary.json").read_text())["gone"] == 1 + len(unknown)


def verified(run: Path) -> bool:
    """Whether every state is found equal, and no trace is left."""
    findings, traces = verify(run)
    return bool(findings) and all(finding.equal for finding in findings) and not traces


def data_of(run: Path) -> Any:
    opened = open_run(run)
    return open_life(run, opened.scenario, 7, opened.ledger, opened.commands).system.data()


def test_who_forgot_examples_is_as_a_new_run_on_the_table_without_them(tmp_path: Path) -> None:
    """A row of each side is forgotten; the new run knows nothing of the old one."""
    source = SOURCES[0]
    source.write(tmp_path / source.name, rows())
    data = {"family": "table", "source": str(tmp_path / "t.csv"), "prompt": PROMPT, "labels": MOODS, "minimum": 4}
    data |= DEALT["column"] | {"clients": 7}  # all who are not public, whoever has most rows
    asked = tiny(data=data, strategies=STRATEGIES, stream={"requests": 0})
    run = run_scenario(asked, tmp_path / "run")
    shard = max((data_of(run).shard(client) for client in data_of(run).manifest.clients), key=lambda shard: len(shard.test))
    gone = {example.key for example in (shard.train[0], shard.train[-1], shard.test[0])}
    positions = [row for row, key in enumerate(data_of(run).rows_of(shard.client)) if key in gone]
    forget(run, shard.client, positions)
    erase(source, tmp_path, gone)
    assert verified(run)
    anew = run_scenario(asked, tmp_path / "anew")
    assert digests(anew) == digests(run)
    HERE.__init__()  # type: ignore[misc]
    source.write(tmp_path / source.name, rows())
    assert digests(run_scenario(asked, tmp_path / "whole")).items().isdisjoint(digests(run).items())


def test_a_request_whose_client_can_no_longer_be_derived_is_rebuilt(tmp_path: Path) -> None:
    """The rows went before the request came: what is kept is rebuilt from the others, and the ledger says why."""
    source = SOURCES[0]
    source.write(tmp_path / source.name, rows())
    data = {"family": "table", "source": str(tmp_path / "t.csv"), "prompt": PROMPT, "labels": MOODS, "minimum": 4}
    data |= DEALT["column"]
    run = run_scenario(tiny(data=data, strategies=["local", "average"], stream={"requests": 0}), tmp_path / "run")
    client = min(line["client"] for line in read(run / "ledger.jsonl") if line["event"] == "join")
    erase(source, tmp_path, keys_of(run, client))
    forget(run, client)
    (rebuild,) = [line for line in read(run / "ledger.jsonl") if line["event"] == "rebuild"]
    assert list(rebuild["because"]) == [client]
    assert "are not in" in rebuild["because"][client]
    assert rebuild["strategies"]["average"]["client_tunings"] == 5
    told = json.loads((run / "summary.json").read_text())["strategies"]
    assert all(strategy["bitwise_equal"] for strategy in told.values())
    resume(run)  # nothing is owed, nothing happens
    assert verified(run)
