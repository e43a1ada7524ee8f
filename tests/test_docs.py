"""docs/run_folder.md and docs/path_of_a_deletion.md, held against what real runs write and do."""

import fnmatch
import hashlib
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from safetensors.numpy import load_file

from clients.data.population import Population
from clients.errors import InputError
from clients.jobs import Job, Reply
from clients.settings import Settings
from clients.work.site import Process, open_site
from sim import cli
from sim.life.ledger import Ledger
from sim.life.life import first_population
from sim.life.release import carry_out
from sim.run import resume, run_scenario
from sim.scenario.file import Asked
from sim.scenario.workers import Kind, WorkersSpec
from sim.stream.requests import FORGET, JOIN, draw
from sim.study.study import new_study, play
from sim.workers.workers import InlineWorkers, Workers

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "sim"))

from contract import FREE, TWEETS, small  # noqa: E402
from tiny_scenario import TINY, tiny  # noqa: E402

FOLDER = (ROOT / "docs" / "run_folder.md").read_text(encoding="utf-8")
PATH = (ROOT / "docs" / "path_of_a_deletion.md").read_text(encoding="utf-8")
EVERY: list[Any] = [
    *map(small, FREE),
    {"sift_masks": {"label": "counts", "scale": "counts"}},
    {"clamu": {"label": "near", "clusters": 2, "steps": 2, "affinity": "task_vectors"}},
    {"emr": {"label": "emr_each"}},
]
FEW = TINY["data"] | {"clients": 5, "pairs": 2}
NAME = r"[a-z_]+"


def block(language: str) -> str:
    """The page's one fenced block of a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", FOLDER, re.DOTALL)
    return str(found)


def section(heading: str) -> str:
    """What stands below a heading."""
    return FOLDER.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def fields(heading: str) -> set[str]:
    """The names in the first column of the table below a heading."""
    cells = re.findall(r"^\| ([^|]*) \|", section(heading), re.MULTILINE)
    return {name for cell in cells for name in re.findall(rf"`({NAME})`", cell)}


SCHEMA = json.loads(block("json"))
CHECK = Draft202012Validator(SCHEMA)
SHAPES = {frozenset(event["required"]) for event in SCHEMA["oneOf"]}
"""Fields that lines have together."""
PATTERNS, UNDER_WAY = (
    dict(re.split(r"\s{2,}", line, maxsplit=1) for line in block(name).splitlines()) for name in ("files", "unfinished")
)


OVERFLOWING = {"task_arithmetic": {"scale": 3e38}}
"""What it serves is not finite."""


class Faulty(InlineWorkers):
    """Workers under whom u6 can never be tuned, the first to be derived again comes back changed, and others never do."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(open_site(settings))
        self.derived: set[str] = set()

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        jobs = list(jobs)
        for index, reply in super().run(jobs, shared):
            job = jobs[index]
            if job.kind == "tune" and "u6" in job.clients:
                reply = Reply(job.clients, error="InputError: no data today")
            elif job.kind == "tune" and job.facts["wants"] == [["sum", None]]:
                self.derived |= set(job.clients)
                if len(self.derived) == 1:
                    reply.arrays["sum"] = reply.arrays["sum"] + 1
                else:
                    reply = Reply(job.clients, error="InputError: gone")
            yield index, reply


@contextmanager
def faulty(spec: WorkersSpec, kind: Kind, settings: Settings) -> Iterator[Workers]:
    yield Faulty(settings)


class Dying(InlineWorkers):
    """Workers of a process that ends after eight replies."""

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        yield from itertools.islice(super().run(jobs, shared), 8)
        raise KeyboardInterrupt


@contextmanager
def dying(spec: WorkersSpec, kind: Kind, settings: Settings) -> Iterator[Workers]:
    yield Dying(open_site(settings))


@pytest.fixture(scope="module")
def lively(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A run that is killed while it learns and goes on; in its stream somebody joins, examples are forgotten, and who wants
    to come back still waits to be forgotten. And the files that the kill has left."""
    folder = tmp_path_factory.mktemp("lively")
    strategies = ["zero_shot", "average", "mask_only"]
    stream: dict[str, Any] = {"join": 6, "joins": 1, "requests": 3, "examples": 1, "returns": 1}
    scenario = tiny(strategies=strategies, stream=stream, workers={"kind": "inline", "cohort": 1})
    asked = draw(scenario.stream, first_population(scenario, 7), 7)
    back = next(r.client for r in asked if r.kind == JOIN and r.client in {q.client for q in asked if q.kind == FORGET})
    away = stream | {"offline": {"calendar": {back: [[0, 400]]}}}
    scenario = tiny(strategies=strategies, stream=away, workers={"kind": "inline", "cohort": 1})
    with pytest.raises(KeyboardInterrupt):
        run_scenario(scenario, folder / "run", dying)
    left = files_of(folder / "run")
    resume(folder / "run")
    return folder / "run", set(left)


@pytest.fixture(scope="module")
def runs(cache: Path, tmp_path_factory: pytest.TempPathFactory, lively: tuple[Path, set[str]]) -> list[Path]:
    """A run of every strategy and requests to it, one with failures of both kinds and somebody offline, one of two seeds
    with the gap to retraining, the lively one, one of heads in closed form, and the smaller point of a study."""
    folder = tmp_path_factory.mktemp("documented")
    digits = {
        "data": {"family": "images", "sets": ["digits"], "clients": 6, "maximum": 12, "validation": 4, "public_clients": 2},
        "model": {"base": "resnet-18", "resnet": {"depths": [1], "widths": [8], "pixels": 8, "steps": 3, "batch": 8}},
        "strategies": ["local", small("central")],
        "seeds": [7, 8],
        "audit": ["bitwise", "gap"],
        "report": {"html": True},
    }
    every = run_scenario(tiny(data=FEW, strategies=EVERY, stream={"requests": 0}, audit=[]), folder / "every")
    cli.forget(every, "u3")
    with pytest.raises(InputError, match="u3: has been forgotten already"):
        cli.forget(every, "u3")
    stream: dict[str, Any] = {"requests": 3, "examples": 2, "release": {"every": 1}}
    clients = tuple(f"u{i}" for i in range(8))
    asked = draw(tiny(stream=stream).stream, Population(clients=clients, joining=clients), 7)
    away = next(request.client for request in asked if request.partial)
    stream["offline"] = {"policy": "rebuild", "calendar": {away: [[0, 400]]}}
    return [
        every,
        run_scenario(tiny(strategies=["average", "local", OVERFLOWING], stream=stream, audit=[]), folder / "faulty", faulty),
        run_scenario(tiny(**digits, stream={"requests": 1}), folder / "gap"),
        lively[0],
        run_scenario(
            tiny(data=TWEETS, strategies=["label_prior", "ridge"], stream={"requests": 1}, audit=[]), folder / "heads"
        ),
        smaller_point(folder / "study"),
    ]


def smaller_point(folder: Path) -> Path:
    """A run that shares parts with a larger one."""
    few = {"strategies": ["zero_shot", "average"], "stream": {"requests": 0}, "audit": [], "seeds": [7]}
    study = new_study(Asked(TINY | few | {"sweep": {"clients": [1, 2]}}, {}, Path("study.yaml")), folder)
    play(study)
    return folder / "points" / study.points[-1].name


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "ledger.jsonl").read_text(encoding="ascii").splitlines()]


# -- the run folder -----------------------------------------------------------------------------------------------------


def test_every_line_of_a_ledger_is_what_the_page_says(runs: list[Path]) -> None:
    told = [line for run in runs for line in lines(run)]
    for line in told:
        CHECK.validate(line)
    named = {event["properties"]["event"]["const"] for event in SCHEMA["oneOf"]}
    assert {line["event"] for line in told} == named
    forgot = [line for line in told if line["event"] == "forget"]
    assert {line["derived"] for line in forgot} == {True, False}
    assert {(line["matched"], line["derived_digest"] is None) for line in forgot if line["derived"]} == {
        (True, False),
        (False, False),
        (False, True),
    }
    assert len({(line["derived"], "digest" in line) for line in forgot if "examples" in line}) == 4
    assert {frozenset(line) for line in told} == SHAPES


def test_the_tables_name_the_events_and_fields_of_the_schema() -> None:
    properties = [event["properties"] for event in SCHEMA["oneOf"]]
    shared = {"n", "event", "previous", "hash"}
    cost = set(SCHEMA["$defs"]["cost"]["required"])
    for event in {each["event"]["const"] for each in properties}:
        (row,) = re.findall(rf"^\| `{event}` \|.*\| ([^|]*) \|$", FOLDER, re.MULTILINE)
        own = {name for each in properties if each["event"]["const"] == event for name in each} - shared
        assert set(re.findall(rf"`({NAME})`", row)) == (own - cost if cost <= own else own)
        assert ("and the cost" in row) == (cost <= own)
    every = {name for each in properties for name in each} | set(SCHEMA["$defs"]["published"]["required"]) | cost
    assert fields("The fields of a line") == every


@pytest.mark.parametrize("event", sorted({event["properties"]["event"]["const"] for event in SCHEMA["oneOf"]}))
def test_a_line_that_is_something_else_is_refused(runs: list[Path], event: str) -> None:
    """For every set of fields that lines of an event have."""
    shapes = {frozenset(line): line for run in runs for line in lines(run) if line["event"] == event}
    changes: list[dict[str, Any]] = [{"event": "joined"}, {"extra": 1}, {"hash": "0"}, {"n": -1}, {"previous": None}]
    for line in shapes.values():
        for change in [*changes, *({key: []} for key in line if not isinstance(line[key], list))]:
            with pytest.raises(ValidationError):
                CHECK.validate(line | change)
        for missing in line:
            fewer = {key: value for key, value in line.items() if key != missing}
            if frozenset(fewer) not in SHAPES:
                with pytest.raises(ValidationError):
                    CHECK.validate(fewer)


def test_hashes_are_made_as_the_page_says(runs: list[Path], tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("join", client="名前")
    ledger.commit()
    for run in (*runs, tmp_path):
        previous = "0" * 64
        for number, line in enumerate(lines(run)):
            assert (line["n"], line["previous"]) == (number, previous)
            rest = {key: value for key, value in line.items() if key != "hash"}
            text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            previous = hashlib.sha256(text.encode()).hexdigest()
            assert line["hash"] == previous


def test_every_file_of_a_run_is_on_the_page_and_nothing_else(runs: list[Path]) -> None:
    found = [name for run in runs for name in files_of(run)]
    matched = {name: [pattern for pattern in PATTERNS if _matches(name, pattern)] for name in found}
    assert [name for name, which in matched.items() if not which] == []
    assert set(PATTERNS) == {pattern for which in matched.values() for pattern in which}


def test_files_of_clients_are_called_as_the_page_says(runs: list[Path]) -> None:
    names = {client for run in runs for path in run.rglob("members.json") for client in json.loads(path.read_text())}
    digests = {hashlib.sha256(client.encode()).hexdigest()[:32] for client in names}
    own = {Path(name).stem for run in runs for name in files_of(run) if "/clients/" in name}
    assert len(own) > 5
    assert own <= digests


def test_what_is_there_while_something_is_under_way_is_on_the_page(lively: tuple[Path, set[str]]) -> None:
    """Six clients were tuned under one rule, and two under the other, whose masks lie in ``next/``."""
    run, left = lively
    under_way = {name for name in left if not any(_matches(name, pattern) for pattern in PATTERNS)}
    assert under_way >= {"state/7/.replies"}
    beside = {name.replace("/next/", "/") for name in under_way if "/next/" in name}
    assert len(beside) == 2 * 2  # masks and sizes
    assert all(any(_matches(name, pattern) for pattern in PATTERNS) for name in beside)
    assert {name for name in under_way if "/next/" not in name} == {"state/7/.replies"}
    assert list(UNDER_WAY) == ["state/*/.replies", "state/*/next/commit.json", "state/*/next/...", "state/*/audit/..."]
    assert not under_way & set(files_of(run))  # once it is done


def test_the_population_and_requests_by_command_are_what_the_page_says(runs: list[Path]) -> None:
    told = [json.loads(path.read_text(encoding="utf-8")) for run in runs for path in run.rglob("population.json")]
    for population in told:
        assert set(population) == fields("population.json")
    every = runs[0]
    (asked,) = json.loads((every / "asked.json").read_text(encoding="utf-8"))
    assert set(asked) == fields("asked.json")
    assert asked == {"client": "u3", "kind": "forget", "day": 365.0, "rows": 0, "examples": []}


def test_the_arrays_of_a_file_are_those_on_the_page(runs: list[Path]) -> None:
    for path in (path for run in runs for path in run.rglob("*.safetensors")):
        run = next(run for run in runs if path.is_relative_to(run))
        (pattern,) = [pattern for pattern in PATTERNS if _matches(path.relative_to(run).as_posix(), pattern)]
        told = re.findall(r"(\w+) (\w+) \[(.*?)\]", PATTERNS[pattern])
        arrays = {name: (dtype, sizes.split(", ")) for name, dtype, sizes in told}
        for name, array in load_file(path).items():
            dtype, sizes = arrays["K" if name.isdigit() else name]
            found = "int" if dtype == "int" and array.dtype.kind == "i" else str(array.dtype)  # of statistics: it depends
            assert (found, array.ndim) == (dtype, len(sizes)), f"{path}: {name}"
        assert {"K" if name.isdigit() else name for name in load_file(path)} == set(arrays)


def test_the_fields_of_the_results_are_those_on_the_page(runs: list[Path]) -> None:
    summaries = [json.loads((run / "summary.json").read_text(encoding="utf-8")) for run in runs]
    records = [json.loads(path.read_text(encoding="utf-8")) for run in runs for path in run.rglob("progress.json")]
    assert set().union(*summaries) == fields("summary.json")
    assert set().union(*(each for summary in summaries for each in summary["strategies"].values())) == fields(
        "A strategy in summary.json"
    )
    assert set().union(*records) == fields("progress.json")
    table = re.findall(rf"^\| `({NAME})` \| (\w+) \|", section("metrics.parquet"), re.MULTILINE)
    assert table == [(column.name, str(column.type)) for column in pq.read_schema(runs[0] / "metrics.parquet")]


def files_of(run: Path) -> list[str]:
    """Every file of a run folder."""
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


# -- the path of a deletion ---------------------------------------------------------------------------------------------


@dataclass
class Trace:
    """Files of the three floors in which functions run, in order of appearance: before ``carry_out``, and from there to the
    end of the commit that the release's line of the ledger is in. What runs while a module is imported does not count."""

    opening: dict[str, None] = field(default_factory=dict)
    deletion: dict[str, None] = field(default_factory=dict)
    importing: int = 0

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        code = frame.f_code
        if code.co_name == "<module>" and event in ("call", "return"):
            self.importing += 1 if event == "call" else -1
        elif not self.importing and code.co_filename.startswith(FLOORS):
            if event == "call":
                path = Path(code.co_filename).relative_to(ROOT).as_posix()
                began = bool(self.deletion) or code.co_qualname == "carry_out"
                (self.deletion if began else self.opening)[path] = None
            elif event == "return" and code is carry_out.__code__:  # a commit is the last thing that it does
                sys.setprofile(None)

    @property
    def files(self) -> set[str]:
        return {*self.opening, *self.deletion}


FLOORS = tuple(f"{ROOT / floor}/" for floor in ("sim", "strategies", "clients"))


def traced(strategy: Any, folder: Path, patch: pytest.MonkeyPatch) -> Trace:
    """What runs when one more client is forgotten, in a process that has nothing open yet."""
    run = run_scenario(tiny(strategies=[strategy], stream={"requests": 0}, audit=[]), folder / "run")
    patch.setattr("clients.work.site.HERE", Process())
    trace = Trace()
    sys.setprofile(trace)
    try:
        cli.forget(run, "u3")
    finally:
        sys.setprofile(None)
    return trace


@pytest.fixture(scope="module")
def average(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    with pytest.MonkeyPatch.context() as patch:
        return traced("average", tmp_path_factory.mktemp("average"), patch)


def test_the_path_of_a_deletion_names_every_file_that_runs_in_order(average: Trace) -> None:
    opening, deletion = PATH.split("\n## The deletion")
    only_opening = [path for path in average.opening if path not in average.deletion]
    assert re.findall(r"^\d+\. \**`([^`]+)`", opening, re.MULTILINE) == only_opening
    assert re.findall(r"^\d+\. \**`([^`]+)`", deletion, re.MULTILINE) == list(average.deletion)
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", PATH, re.MULTILINE)]
    assert numbers == list(range(1, len(average.files) + 1))
    for path in re.findall(r"`((?:sim|strategies|clients)/[a-z_0-9/]+\.py)`", PATH):
        assert (ROOT / path).is_file(), path


def test_the_counts_of_the_path_are_true(average: Trace) -> None:
    words = " ".join(PATH.split())
    files, to_read = len(average.files), len(re.findall(r"^\d+\. \*\*`", PATH, re.MULTILINE))
    assert f"{files} files run, each named below once. The {to_read} in **bold**" in words
    assert f"the other {files - to_read} do what their line says" in words
    assert f"{len(average.deletion) + 2} run (the command, `sim/run.py` and the second list)" in words


@pytest.mark.parametrize("strategy", ["sift_masks", "clamu"])
def test_what_another_strategy_adds_to_the_path(
    average: Trace, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = traced(small(strategy), tmp_path, monkeypatch)
    (told,) = re.findall(rf"^- `{strategy}` adds (.*?)(?=^- |^$)", PATH, re.MULTILINE | re.DOTALL)
    adds, _, leaves_out = (set(re.findall(r"`([^`]+\.py)`", part)) for part in told.partition("leaves out"))
    own = {path for path in other.files if path.endswith(f"/{strategy}.py")}
    assert len(own) == 1
    assert adds == other.files - average.files - own
    assert leaves_out == average.files - other.files - {"strategies/subtract/average.py"}
