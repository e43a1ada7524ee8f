"""What libraries are told: every evaluation once, in order, whatever kills the run; tracking decides nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from clients.errors import InputError
from sim.life.life import Life
from sim.plan import checks
from sim.run import forget, resume, run_scenario
from sim.scenario.model import Scenario
from sim.tracking import tracking
from sim.tracking.tracker import Place, Row

ROOT = Path(__file__).resolve().parents[3]
TINY: dict[str, Any] = {
    "name": "tiny",
    "seeds": [1, 2],
    "data": {"source": "fiction", "clients": 5, "pairs": 2, "public_authors": 8},
    "model": {"max_length": 128, "tiny": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "steps": 3, "batch": 4}},
    "tuning": {"steps": 2},
    "strategies": ["average", {"local": {"label": "a b/c"}}],
    "stream": {"requests": 2, "evaluate_after": [1, 2]},
    "workers": {"kind": "inline"},
    "report": {"html": False},
}
EVENTS = [0, 1, 2]
KEYS = {"held_in", "held_out", "gradient_steps", "storage_bytes"}

Store = Callable[[Path], dict[str, Any]]
Points = dict[str, list[tuple[int, float]]]
"""By series, as ``seed_1/average/held_in``: events and value of each point, in order."""


def scenario(*libraries: str) -> Scenario:
    return Scenario.model_validate(TINY | {"report": {"html": False, "track": list(libraries)}})


class Told:
    """A library whose store outlives processes, as a server's does."""

    stores: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, place: Place) -> None:
        self.store = self.stores.setdefault(place.identity, {"rows": [], "ends": [], "place": place})
        self.known = len(self.store["rows"])

    def log(self, row: Row) -> None:
        self.store["rows"].append(row)

    def end(self, summary: Mapping[str, float]) -> None:
        self.store["ends"].append(dict(summary))

    def close(self) -> None:
        pass


class Fickle(Told):
    """One that fails at its second row."""

    def log(self, row: Row) -> None:
        if row.number == 1:
            raise ConnectionError("the server is away")
        super().log(row)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Store:
    """What a library was told of a run; it takes the place of TensorBoard."""
    monkeypatch.setattr("sim.tracking.tensorboard.TensorBoard", Told)
    monkeypatch.setattr("sim.tracking.tracking.check", lambda _: None)
    monkeypatch.setattr(Told, "stores", {})
    return lambda run: Told.stores[(run / "tracking" / "identity").read_text()]


def points_of(run: Path) -> Points:
    """What the run itself says: its curves, seed by seed."""
    found: Points = {}
    for seed in TINY["seeds"]:
        for point in json.loads((run / f"state/{seed}/progress.json").read_text())["curve"]:
            for label, values in point["strategies"].items():
                for key in (*sorted(KEYS), *(["forgotten"] if point["deleted"] else [])):
                    found.setdefault(f"seed_{seed}/{label}/{key}", []).append((point["events"], values[key]))
    return found


def series_of(rows: list[Row]) -> Points:
    found: Points = {}
    for row in rows:
        for name, value in row.series.items():
            found.setdefault(name, []).append((row.events, value))
    return found


def test_every_evaluation_is_told_once_as_the_run_has_it(told: Store, tmp_path: Path) -> None:
    run = run_scenario(scenario("tensorboard"), tmp_path / "run")
    store = told(run)
    assert [(row.number, row.seed, row.events) for row in store["rows"]] == [
        (number, seed, events) for number, (seed, events) in enumerate([(s, e) for s in (1, 2) for e in EVENTS])
    ]
    assert series_of(store["rows"]) == points_of(run)
    summary = json.loads((run / "summary.json").read_text())["strategies"]
    (end,) = store["ends"]
    assert end["average.accuracy.held_in_after"] == summary["average"]["accuracy"]["held_in_after"]
    assert end["a b/c.gradient_steps.learn"] == 5 * 2
    assert end["average.bitwise_equal"] == 1.0
    place: Place = store["place"]
    assert (place.project, place.title, place.axes) == ("tiny", "run", ("seed_1", "seed_2"))
    assert place.parameters["tuning.steps"] == 2
    assert place.parameters["seeds"] == "[1, 2]"
    assert json.loads(place.parameters["strategies"])[0] == {"average": {"alpha": 1.0, "tuning": "plain"}}


def test_a_request_by_command_continues_the_tracked_run(told: Store, tmp_path: Path) -> None:
    run = run_scenario(scenario("tensorboard"), tmp_path / "run")
    resume(run)  # nothing is owed, and nothing is told but the same end
    assert len(told(run)["rows"]) == 6
    gone = [json.loads((run / f"state/{seed}/progress.json").read_text())["forgotten"] for seed in (1, 2)]
    client = next(f"u{number}" for number in range(5) if not any(f"u{number}" in names for names in gone))
    forget(run, client)
    rows = told(run)["rows"]
    assert [(row.number, row.seed, row.events) for row in rows[6:]] == [(6, 1, 3), (7, 2, 3)]
    assert series_of(rows) == points_of(run)
    assert len(Told.stores) == 1


def killed(monkeypatch: pytest.MonkeyPatch, number: int, told: bool) -> None:
    """Let the process end at a commit: just after it, or when libraries were told of it too."""
    count = iter(range(10**6))
    commit = Life.commit

    def dying(life: Life) -> None:
        last = next(count) == number
        if last and not told:
            life.follow = lambda _: None
        commit(life)
        if last:
            raise KeyboardInterrupt

    monkeypatch.setattr(Life, "commit", dying)


def goes_on(told: Store, number: int, after: bool, run: Path) -> bool:
    """Whether there was such a commit: the run is killed there, goes on, and everything is told once."""
    with pytest.MonkeyPatch.context() as patch:
        killed(patch, number, after)
        try:
            run_scenario(scenario("tensorboard"), run)
            return False
        except KeyboardInterrupt:
            pass
    resume(run)
    assert series_of(told(run)["rows"]) == points_of(run)
    assert len(told(run)["rows"]) == 6
    assert len(told(run)["ends"]) == 1
    return True


@pytest.mark.parametrize(("number", "after"), [(3, False), (3, True), (10, False)])
def test_a_kill_costs_nothing_and_doubles_nothing(told: Store, number: int, after: bool, tmp_path: Path) -> None:
    """At the first evaluation of the first seed, and within the second seed."""
    assert goes_on(told, number, after, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_commit_costs_nothing_and_doubles_nothing(told: Store, after: bool, tmp_path: Path) -> None:
    kills = next(number for number in range(100) if not goes_on(told, number, after, tmp_path / str(number)))
    assert kills >= 12  # learning, releases, evaluations and the audit, of two seeds


def test_a_library_that_fails_is_named_and_the_run_goes_on(
    told: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sim.tracking.tensorboard.TensorBoard", Fickle)
    tracked = run_scenario(scenario("tensorboard"), tmp_path / "tracked")
    said = capsys.readouterr().err
    assert said.count("report.track: tensorboard failed (ConnectionError: the server is away)") == 1
    plain = run_scenario(scenario(), tmp_path / "plain")
    summaries = [json.loads((run / "summary.json").read_text()) for run in (tracked, plain)]
    for key in ("scenario_digest",):
        assert summaries[0][key] == summaries[1][key]
    for label in ("average", "a b/c"):
        digests = [summary["strategies"][label]["state_digest"] for summary in summaries]
        assert digests[0] == digests[1]
    assert not (plain / "tracking").exists()
    monkeypatch.setattr("sim.tracking.tensorboard.TensorBoard", Told)
    resume(tracked)  # it is back, and told what it lacks
    assert series_of(told(tracked)["rows"]) == points_of(tracked)


@pytest.mark.parametrize("name", tracking.TRACKERS)
def test_what_is_not_installed_is_told_before_any_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    message = re.escape(f"report.track: {name} is not installed; in the checkout: pip install -e '.[{name}]'")
    monkeypatch.setattr(checks.HERE, "dataset", lambda *_: pytest.fail("data were read"))
    with pytest.raises(InputError, match=message):
        run_scenario(scenario(name), tmp_path / "run")
    with pytest.raises(InputError, match=message):
        checks.check_machine(scenario(name), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_key_takes_one_or_a_list() -> None:
    one = Scenario.model_validate(TINY | {"report": {"track": "mlflow"}})
    assert one.report.trackers == ("mlflow",)
    assert scenario("wandb", "mlflow", "wandb").report.trackers == ("wandb", "mlflow")
    assert Scenario.model_validate(TINY).report.trackers == ()
    with pytest.raises(ValueError, match="track"):
        Scenario.model_validate(TINY | {"report": {"track": "neptune"}})


# -- the libraries themselves -------------------------------------------------------------------------------------------


def read_tensorboard(run: Path) -> tuple[Points, dict[str, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: Points = {}
    folder = run / "tracking" / "tensorboard"
    for path in sorted(folder.glob("seed_*/*")):
        events = EventAccumulator(str(path))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            label = path.name.replace("%20", " ").replace("%2F", "/")
            found[f"{path.parent.name}/{label}/{tag}"] = [(each.step, each.value) for each in events.Scalars(tag)]
    events = EventAccumulator(str(folder))
    events.Reload()
    return found, {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}


def read_mlflow(run: Path) -> tuple[Points, dict[str, float]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run / 'tracking' / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "tiny"]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["tuning.steps"] == "2"
    histories = {key: client.get_metric_history(found.info.run_id, key) for key in found.data.metrics}
    points = {key: [(each.step, each.value) for each in told] for key, told in histories.items() if key.startswith("seed_")}
    ends = {key: told for key, told in histories.items() if key.startswith("summary/")}
    for told in ends.values():  # again only where a request has changed it
        assert all(one.value != other.value for one, other in pairwise(told))
    return points, {key.removeprefix("summary/"): told[-1].value for key, told in ends.items()}


def read_trackio(run: Path) -> tuple[Points, dict[str, float]]:
    from trackio.sqlite_storage import SQLiteStorage

    name = f"{run.name}-{(run / 'tracking' / 'identity').read_text()}"
    points: Points = {}
    ends: dict[str, float] = {}
    for log in SQLiteStorage.get_logs("tiny", name):
        for key, value in log.items():
            if key.startswith("seed_"):
                points.setdefault(key, []).append((log["step"], value))
            if key.startswith("summary/"):
                ends[key.removeprefix("summary/")] = value
    assert SQLiteStorage.get_run_config("tiny", name)["tuning.steps"] == 2
    return points, ends


def read_wandb(run: Path) -> tuple[Points, dict[str, float]]:
    """One offline run; its file is one of protobuf records, which the library reads itself."""
    (folder,) = (run / "tracking" / "wandb").glob("offline-run-*")
    assert folder.name.endswith((run / "tracking" / "identity").read_text())
    (file,) = folder.glob("*.wandb")
    points: Points = {}
    ends: dict[str, float] = {}
    for _ in range(200):  # a process of the library's own writes it, and may be a moment behind
        if any(record.WhichOneof("record_type") == "exit" for record in wandb_records(file)):
            break
        time.sleep(0.1)
    for record in wandb_records(file):
        if record.WhichOneof("record_type") == "history":
            values = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            for key, value in values.items():
                if key.startswith("seed_") and not key.endswith("/events"):
                    points.setdefault(key, []).append((values[f"{key.split('/')[0]}/events"], value))
        if record.WhichOneof("record_type") == "summary":
            for item in record.summary.update:
                key = "/".join(item.nested_key) or item.key
                if key.startswith("summary/"):
                    ends[key.removeprefix("summary/")] = json.loads(item.value_json)
    return points, ends


def wandb_records(file: Path) -> Iterator[Any]:
    """LevelDB's log format after a header of 7 bytes: blocks of 32 KiB, of parts with checksum, length and kind."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, last
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


READERS = {"tensorboard": read_tensorboard, "mlflow": read_mlflow, "wandb": read_wandb, "trackio": read_trackio}

CHILD = """
import os, signal, sys
from pathlib import Path
from sim.life.life import Life
from sim.run import run_scenario
from sim.scenario.file import load_scenario
number, commit, count = int(sys.argv[3]), Life.commit, iter(range(10**6))
def dying(life):
    commit(life)
    if next(count) == number:
        os.kill(os.getpid(), signal.SIGKILL)
Life.commit = dying
run_scenario(load_scenario(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture
def library(request: pytest.FixtureRequest) -> str:
    """A library that is installed."""
    name = str(request.param)
    pytest.importorskip(name)
    return name


def near(found: Points, right: Points) -> None:
    assert {key: [step for step, _ in told] for key, told in found.items()} == {
        key: [step for step, _ in told] for key, told in right.items()
    }
    for key, told in right.items():
        values = [value for _, value in found[key]]
        assert values == pytest.approx([value for _, value in told], rel=1e-6)  # TensorBoard's are float32


@pytest.mark.tracking
@pytest.mark.parametrize("library", READERS, indirect=True)
def test_a_library_has_every_point_once(library: str, tmp_path: Path) -> None:
    run = run_scenario(scenario(library), tmp_path / "run")
    resume(run)  # nothing is owed
    points, ends = READERS[library](run)
    near(points, points_of(run))
    told = json.loads((run / "summary.json").read_text())["strategies"]["average"]
    assert ends["average.accuracy.held_in_after"] == pytest.approx(told["accuracy"]["held_in_after"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.tracking
@pytest.mark.parametrize("library", READERS, indirect=True)
def test_a_library_has_every_point_once_after_a_sigkill_and_a_request(library: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY | {"report": {"html": False, "track": library}}))
    run = tmp_path / "run"
    own = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}  # or it would use this process's
    command = [sys.executable, "-c", CHILD, str(tmp_path / "tiny.yaml"), str(run), "9"]
    died = subprocess.run(command, cwd=ROOT, timeout=300, env=own)
    assert died.returncode == -signal.SIGKILL
    assert not (run / "summary.json").exists()
    resume(run)
    points, ends = READERS[library](run)
    near(points, points_of(run))
    gone = [json.loads((run / f"state/{seed}/progress.json").read_text())["forgotten"] for seed in (1, 2)]
    forget(run, next(f"u{number}" for number in range(5) if not any(f"u{number}" in names for names in gone)))
    points, ends = READERS[library](run)
    near(points, points_of(run))
    told = json.loads((run / "summary.json").read_text())["strategies"]["average"]
    assert ends["average.gradient_steps.forget"] == told["gradient_steps"]["forget"] == 6


def test_a_run_that_is_still_being_closed_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from sim.tracking import wandb

    monkeypatch.setattr(wandb, "PAUSE", 0)
    answers = iter([RuntimeError("run ID 1 is in use"), RuntimeError("run ID 1 is in use"), None, ValueError("bad key")])

    def opening() -> str:
        if (error := next(answers)) is not None:
            raise error
        return "open"

    assert wandb._opened(opening) == "open"
    with pytest.raises(ValueError, match="bad key"):
        wandb._opened(opening)
