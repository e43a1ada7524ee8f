"""docs/run_folder.md and docs/path_of_a_deletion.md, held against what real runs write and do."""

import fnmatch
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from clients.jobs import Job, Reply
from clients.settings import Settings
from clients.work.site import open_site
from sim.life.deletion import carry_out
from sim.life.ledger import Ledger
from sim.life.saved import open_run, open_system
from sim.run import run_scenario
from sim.scenario.workers import Kind, WorkersSpec
from sim.stream.requests import Request
from sim.workers.workers import InlineWorkers, Workers

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "sim"))

from contract import small  # noqa: E402
from tiny_scenario import TINY, tiny  # noqa: E402

FOLDER = (ROOT / "docs" / "run_folder.md").read_text(encoding="utf-8")
PATH = (ROOT / "docs" / "path_of_a_deletion.md").read_text(encoding="utf-8")
EVERY_PART: list[Any] = [
    *TINY["strategies"],
    *({name: {"clusters": 3}} for name in ("cluster_average", "vote_masks")),
    *(small(name) for name in ("dare", "sisa")),
    "emr",
]


def block(language: str) -> str:
    """The page's one fenced block of a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", FOLDER, re.DOTALL)
    return str(found)


SCHEMA = json.loads(block("json"))
CHECK = Draft202012Validator(SCHEMA)


class Faulty(InlineWorkers):
    """Workers under whom one client can never be tuned, and another comes back changed when it is derived again."""

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        jobs = list(jobs)
        for index, reply in super().run(jobs, shared):
            job = jobs[index]
            if job.kind == "tune" and "u0" in job.clients:
                yield index, Reply(job.clients, error="InputError: no data today")
            elif job.kind == "tune" and [what for what, _ in job.facts["wants"]] == ["sum"]:
                reply.arrays["sum"] = reply.arrays["sum"] + 1
                yield index, reply
            else:
                yield index, reply


@contextmanager
def faulty(spec: WorkersSpec, kind: Kind, settings: Settings) -> Iterator[Workers]:
    yield Faulty(open_site(settings))


@pytest.fixture(scope="module")
def runs(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run with every kind of file, one with failures, one with the gap to retraining."""
    folder = tmp_path_factory.mktemp("documented")
    stream = {"requests": 1, "release": {"every": 1}}
    digits = {
        "data": {"family": "images", "sets": ["digits"], "clients": 6, "maximum": 12, "validation": 4, "public_clients": 2},
        "model": {"base": "resnet-18", "resnet": {"depths": [1], "widths": [8], "pixels": 8, "steps": 3, "batch": 8}},
        "strategies": ["local", small("central")],
        "audit": ["bitwise", "gap"],
    }
    return [
        run_scenario(tiny(strategies=EVERY_PART, stream=stream, report={"html": True}), folder / "every"),
        run_scenario(tiny(strategies=["average", "local"], stream=stream, audit=[]), folder / "faulty", faulty),
        run_scenario(tiny(**digits, stream=stream), folder / "gap"),
    ]


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_line_of_a_ledger_is_what_the_page_says(runs: list[Path]) -> None:
    told = [line for run in runs for line in lines(run)]
    for line in told:
        CHECK.validate(line)
    named = {event["properties"]["event"]["const"] for event in SCHEMA["oneOf"]}
    assert {line["event"] for line in told} == named
    assert {line["derived"] for line in told if line["event"] == "forget"} == {True, False}
    table = set(re.findall(r"^\| `([a-z]+)` \|", FOLDER, re.MULTILINE))
    assert table == named


@pytest.mark.parametrize(
    "change", [{"event": "joined"}, {"extra": 1}, {"hash": "0"}, {"n": -1}, {"seed": "seven"}, {"client": None}]
)
def test_a_line_that_is_something_else_is_refused(runs: list[Path], change: dict[str, Any]) -> None:
    line = next(line for line in lines(runs[0]) if line["event"] == "join")
    with pytest.raises(ValidationError):
        CHECK.validate(line | change)


def test_every_file_of_a_run_is_on_the_page_and_nothing_else(runs: list[Path]) -> None:
    patterns = block("patterns").split()
    found = [path.relative_to(run).as_posix() for run in runs for path in run.rglob("*") if path.is_file()]
    matched = {name: [p for p in patterns if _matches(name, p)] for name in found}
    assert [name for name, which in matched.items() if not which] == []
    assert set(patterns) == {pattern for which in matched.values() for pattern in which}


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def test_the_path_of_a_deletion_names_every_file_that_runs(cache: Path, tmp_path: Path) -> None:
    run = run_scenario(tiny(strategies=["average"], stream={"requests": 0}), tmp_path / "run")
    scenario, _, (record,) = open_run(run)
    system, passed = open_system(run, scenario, record), {"sim/run.py"}

    def noted(frame: FrameType, event: str, value: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT) and frame.f_code.co_name != "<module>":
            passed.add(path.relative_to(ROOT).as_posix())

    workers, ledger = InlineWorkers(open_site(system.settings)), Ledger(run / "ledger.jsonl")
    sys.setprofile(noted)
    try:
        carry_out(system, [Request("u3", 1.0)], workers, ledger)
    finally:
        sys.setprofile(None)
    listed = re.findall(r"^\d+\. `([^`]+)`", PATH, re.MULTILINE)
    floors = ("sim/", "strategies/", "clients/")
    assert sorted(listed) == sorted(path for path in passed if path.startswith(floors))
    to_read = re.findall(r"^\d+\. ", PATH[: PATH.index("## What else runs")], re.MULTILINE)
    assert f"So {len(listed)} files run, {len(to_read)} of which hold a decision" in PATH
    for path in re.findall(r"`((?:sim|strategies|clients)/[a-z_/]+\.py)`", PATH):
        assert (ROOT / path).is_file(), path
