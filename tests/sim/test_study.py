"""Studies: the points of a sweep, what they share, and that each is the run that it would be by itself."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from tiny_scenario import TINY

from clients.errors import InputError
from clients.jobs import Job, Reply, perform
from clients.work.bench import Arrays
from clients.work.site import Site
from sim.life.saved import SUMMARY
from sim.plan.needs import Need
from sim.plan.plan import clock
from sim.plan.seconds import PROGRAM, STARTING, WAITING
from sim.plan.sizes import Sizes
from sim.plan.speeds import Speeds
from sim.run import run_scenario
from sim.scenario.file import Asked, load
from sim.scenario.model import Scenario
from sim.scenario.workers import WorkersSpec
from sim.stream.requests import population
from sim.study import sharing
from sim.study.locks import Locks
from sim.study.parts import Part, Parts
from sim.study.price import Price, prices_of, seconds_of, totals
from sim.study.results import flat, read_rows
from sim.study.scale import scaled
from sim.study.study import PARTS, Study, at_once, new_study, open_study, play
from sim.study.study import processes as other_processes
from sim.study.sweep import points_of
from sim.study.table import tables
from sim.workers import workers

SMALL: dict[str, Any] = TINY | {
    "strategies": [
        "zero_shot",
        "local",
        "average",
        {"sift_masks": {"keep": 0.5, "alpha": [1.0, 2.0]}},
        {"clamu": {"clusters": 2, "steps": 2, "affinity": "task_vectors"}},
    ],
    "data": TINY["data"] | {"clients": 6},
    "stream": {"requests": 2, "release": {"every": 2}},
    "seeds": [1],
}
TIMES = ("seconds", "time", "utilisation", "ledger")
"""Keys begin so that say what the clock says, or tell of it: everything else of a summary is the same."""


def asked(folder: Path, **sections: Any) -> Asked:
    """The small scenario with other sections, as its file is asked for."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL | sections, sort_keys=False))
    return load(str(path))


def timeless(value: Any) -> Any:
    """Results without these."""
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if not key.startswith(TIMES)}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def summary(run: Path) -> Any:
    return json.loads((run / SUMMARY).read_text())


def ledger(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]


# -- the points of a sweep --------------------------------------------------------------------------------------------


def test_a_grid_has_a_point_for_each_combination_and_seed_with_most_clients_first(tmp_path: Path) -> None:
    points = points_of(asked(tmp_path, seeds=[1, 2], sweep={"tuning.steps": [1, 2], "clients": [2, 4]}))
    assert [point.name for point in points] == [
        f"tuning.steps={steps},clients={clients},seed={seed}" for clients in (4, 2) for seed in (1, 2) for steps in (1, 2)
    ]
    for point in points:
        assert point.scenario.seeds == (point.seed,)
        assert point.scenario.tuning.steps == point.axes["tuning.steps"]
        assert point.scenario.stream.join == point.axes["clients"]
        assert point.scenario.data.clients == 4
        assert not point.scenario.sweep


def test_clients_are_nested_and_the_unseen_are_the_same(tmp_path: Path) -> None:
    points = points_of(asked(tmp_path, stream={"unseen": 3}, sweep={"clients": [2, 5, 9]}))
    assert {point.scenario.data.clients for point in points} == {12}
    names = tuple(f"u{number}" for number in range(12))
    joining, unseen = zip(*(population(point.scenario.stream, names, 1) for point in points), strict=True)
    assert [len(each) for each in joining] == [9, 5, 2]
    assert set(joining[2]) < set(joining[1]) < set(joining[0])
    assert len(set(unseen)) == 1
    assert len(unseen[0]) == 3


@pytest.mark.parametrize(
    ("stream", "clients", "requests", "every", "after"),
    [
        ({}, 4, 1, 1, (1,)),  # by default a quarter
        ({"join": 8, "requests": 4, "release": {"every": 2}, "evaluate_after": [2, 4]}, 4, 2, 1, (1, 2)),
        ({"join": 8, "requests": 4, "release": {"every": 2}, "evaluate_after": [2, 4]}, 16, 8, 4, (4, 8)),
        ({"join": 8, "requests": 8, "release": {"every": 8}, "evaluate_after": [8]}, 3, 3, 3, (3,)),
        ({"join": 8, "requests": 2, "release": {"every": 1}}, 16, 4, 1, (4,)),  # at once is at once
        ({"join": 8, "requests": 2}, 2, 0, 1, ()),
        ({"join": 8, "requests": 0}, 16, 0, 1, ()),
    ],
)
def test_what_the_stream_counts_keeps_its_share_of_those_who_join(
    tmp_path: Path, stream: dict[str, Any], clients: int, requests: int, every: int, after: tuple[int, ...]
) -> None:
    data = SMALL["data"] | {"clients": 8}
    (point,) = points_of(asked(tmp_path, data=data, stream=stream, sweep={"clients": [clients]}))
    found = point.scenario.stream
    assert (found.requests, found.release.every, found.evaluate_after) == (requests, every, after)


def test_newcomers_are_beside_those_who_join_at_most(tmp_path: Path) -> None:
    data, stream = SMALL["data"] | {"clients": 8}, {"join": 4, "joins": 2, "requests": 1}
    points = points_of(asked(tmp_path, data=data, stream=stream, sweep={"clients": [2, 8]}))
    assert [(point.scenario.data.clients, point.scenario.stream.joins) for point in points] == [(12, 4), (12, 1)]


def test_a_key_of_the_stream_wins_over_what_clients_make_of_it(tmp_path: Path) -> None:
    points = points_of(asked(tmp_path, sweep={"stream.requests": [0, 1], "clients": [6]}))
    assert [point.scenario.stream.requests for point in points] == [0, 1]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"tuning.stepz": [1]}, "sweep: tuning.stepz = 1: tuning.stepz: unknown key; did you mean 'steps'?"),
        ({"tuning.steps": [1, 0]}, "sweep: tuning.steps = 0: tuning.steps: Input should be greater than or equal to 1"),
        ({"tuning.steps": [2, 2]}, "sweep: tuning.steps: 2 is there twice"),
        ({"tuning.steps": []}, "sweep.tuning.steps"),
        ({"tuning.steps": 3}, "sweep.tuning.steps"),
        ({"clients": [2, "many"]}, "sweep: clients = many: how many clients join"),
        ({"clients": [True]}, "sweep: clients = True: how many clients join"),
        ({"clients": [0]}, "sweep: clients = 0: how many clients join"),
        ({"clients": [2], "data.clients": [4]}, "sweep: data.clients and clients set the same"),
        ({"seeds": [[1], [2]]}, "sweep: seeds: seeds is a key of the scenario"),
        ({"sweep.clients": [1]}, "sweep: sweep.clients: a sweep has no sweep"),
        ({"stream.requests": [1, 7]}, "sweep: stream.requests = 7: stream"),
        ({"strategies.0.tall.alpha": [1]}, "sweep: strategies.0.tall.alpha = 1: strategies.0 is 'zero_shot'"),
        ({"strategies.9": ["local"]}, "strategies is a list of 5, from 0"),
    ],
)
def test_rubbish_is_refused_with_the_key_and_the_value(tmp_path: Path, sweep: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        points_of(asked(tmp_path, sweep=sweep))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_that_are_no_words_make_safe_names(tmp_path: Path) -> None:
    values = [{"sift_masks": {"keep": 0.5}}, {"sift_masks": {"keep": 0.25}}, "average"]
    points = points_of(asked(tmp_path, strategies=["zero_shot", "local"], sweep={"strategies.1": values}))
    names = [point.name for point in points]
    assert len({*names}) == 3
    assert names[2] == "strategies.1=average,seed=1"
    assert all(set(name) <= {*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.=,+-"} for name in names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clients": "2,x"}, "--clients 2,x: give whole numbers"),
        ({"clients": "2", "seeds": "a"}, "--seeds a: give whole numbers"),
        ({"clients": "2", "strategies": "avrage"}, "--strategies avrage: neither a label of the scenario nor a strategy"),
    ],
)
def test_options_of_scale_that_are_no_lists_are_refused(tmp_path: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        scaled(asked(tmp_path), **options)


def test_scale_is_a_sweep_over_clients_with_other_seeds_and_strategies(tmp_path: Path) -> None:
    scenario = scaled(asked(tmp_path), "2,4", "5,6", "sift_masks,tall").scenario()
    assert scenario.sweep == {"clients": (2, 4)}
    assert scenario.seeds == (5, 6)
    assert [spec.label for spec in scenario.strategies] == ["sift_masks", "tall"]
    assert scenario.strategies[0].parameters.model_dump()["keep"] == 0.5  # as the scenario has it


def test_a_run_and_a_sweep_are_told_apart(tmp_path: Path) -> None:
    scenario = asked(tmp_path, sweep={"tuning.steps": [1]}).scenario()
    with pytest.raises(InputError, match="sweep: makes this scenario a study"):
        run_scenario(scenario, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert scenario.digest() == asked(tmp_path).scenario().digest()


# -- playing a study --------------------------------------------------------------------------------------------------


TUNED: list[tuple[str, str]] = []
"""Clients who were really tuned for the study ``whole``, and under which rule, once for each time."""


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study of two numbers of clients; not to be changed."""
    folder = tmp_path_factory.mktemp("study")
    study = new_study(asked(folder, sweep={"clients": [3, 6]}), folder / "out")
    with noting(TUNED):
        play(study)
    return study


@contextmanager
def noting(tuned: list[tuple[str, str]]) -> Iterator[None]:
    """Whoever is tuned in the block, and under which rule, is put down."""

    def noted(site: Site, job: Job, shared: Arrays) -> Reply:
        if job.kind == "tune":
            tuned.extend((client, job.facts["rule"]) for client in job.clients)
        return perform(site, job, shared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "perform", noted)
        yield


def point(study: Study, clients: int) -> Path:
    return study.folder / "points" / f"clients={clients},seed=1"


def test_every_point_is_the_run_that_it_would_be_alone_digest_by_digest_and_price_by_price(
    whole: Study, tmp_path: Path
) -> None:
    for each in whole.points:
        alone, in_study = run_scenario(each.scenario, tmp_path / each.name), whole.folder / "points" / each.name
        assert timeless(summary(in_study)) == timeless(summary(alone))
        told = [[timeless(r) for r in ledger(run) if r["event"] != "shared"] for run in (in_study, alone)]
        for chained in (record for records in told for record in records):
            for key in ("n", "previous", "hash", "commit", "wall_seconds"):
                chained.pop(key, None)
        events = [[record["event"] for record in records if record["event"] != "commit"] for records in told]
        assert events[0] == events[1]
        for event in set(events[0]):
            one, other = ([record for record in records if record["event"] == event] for records in told)
            assert one == other, event
        assert all(result["bitwise_equal"] for result in summary(in_study)["strategies"].values())


def test_the_ledger_says_what_came_from_the_store_and_a_deletion_takes_nothing_from_it(whole: Study) -> None:
    smaller = [record for record in ledger(point(whole, 3)) if record["event"] == "shared"]
    assert {(r["phase"], r["parts"], r["of"]) for r in smaller if r["phase"] == "learning"} == {("learning", 6, 6)}
    largest = [record for record in ledger(point(whole, 6)) if record["event"] == "shared"]
    assert not [record for record in largest if record["phase"] != "stream"]
    assert not (whole.folder / PARTS).exists()  # vectors of the forgotten were among the parts


def test_results_are_a_row_for_each_point_and_strategy(whole: Study) -> None:
    rows = read_rows(whole.folder)
    assert [(row["clients"], row["label"]) for row in rows] == [
        (clients, label) for clients in (6, 3) for label in ("zero_shot", "local", "average", "sift_masks", "clamu")
    ]
    for row in rows:
        told = summary(point(whole, row["clients"]))
        assert row["point"] == f"clients={row['clients']},seed=1"
        assert (row["seed"], row["members"], row["requests"]) == (1, told["clients"], told["requests"])
        for key, value in flat(told["strategies"][row["label"]]).items():
            assert row[key] in (value, str(value)), key  # a column of numbers and words is of words
    assert "accuracy.held_in_after" in rows[0]
    assert rows[0]["gradient_steps.learn"] == 0
    assert rows[1]["gradient_steps.learn"] == 6 * 3
    content = json.loads((whole.folder / "study.json").read_text())
    assert content["axes"] == {"clients": [3, 6]}
    assert content["points"] == {"done": 2, "asked": 2}
    assert (content["seeds"], content["verdicts"]) == ([1], [])


def test_columns_of_results_have_one_type_whatever_the_points_say(tmp_path: Path) -> None:
    from sim.study.results import as_parquet

    rows = [{"a": 1, "b": None, "c": "x", "d": True}, {"a": 1.5, "b": 2, "c": 3, "d": False, "e": None}]
    (tmp_path / "t.parquet").write_bytes(as_parquet(rows))
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == [
        {"a": 1.0, "b": None, "c": "x", "d": True, "e": None},
        {"a": 1.5, "b": 2, "c": "3", "d": False, "e": None},
    ]


class StoppedError(Exception):
    """Instead of a kill."""


def test_a_study_that_was_stopped_goes_on_where_it_stood(
    whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(asked(tmp_path, sweep={"clients": [3, 6]}), tmp_path / "out")
    made = sharing.part_of
    count = 0

    def stopping(*given: Any) -> Part:
        nonlocal count
        count += 1
        if count == 5:
            raise StoppedError
        return made(*given)

    monkeypatch.setattr(sharing, "part_of", stopping)
    with pytest.raises(StoppedError):
        play(study)
    monkeypatch.setattr(sharing, "part_of", made)
    assert len(list((study.folder / PARTS).glob("*/*.safetensors"))) == 4
    play(open_study(study.folder))
    learned = [r for r in ledger(point(study, 6)) if r["event"] == "shared" and r["phase"] == "learning"]
    assert [record["parts"] for record in learned] == [4]  # made before it was stopped
    for clients in (3, 6):
        assert timeless(summary(point(study, clients))) == timeless(summary(point(whole, clients)))


def test_two_processes_share_a_study_and_one_may_be_killed(whole: Study, tmp_path: Path) -> None:
    study = new_study(asked(tmp_path, sweep={"clients": [3, 6]}), tmp_path / "out")
    command = [sys.executable, "-m", "sim.study.study", str(study.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as other:
        until = time.monotonic() + 60
        while not list(study.folder.glob("points/*/state")) and time.monotonic() < until:
            time.sleep(0.02)
        taken = next(study.folder.glob("points/*")).name
        with Locks(study.folder / ".lock") as locks:
            assert not locks.take(taken) or (study.folder / "points" / taken / SUMMARY).exists()
        other.send_signal(signal.SIGKILL)
    play(study)
    for clients in (3, 6):
        assert timeless(summary(point(study, clients))) == timeless(summary(point(whole, clients)))


def test_a_folder_that_holds_a_study_is_not_written_over(whole: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a study is there; go on with: unmerge run --resume"):
        new_study(asked(tmp_path, sweep={"clients": [3]}), whole.folder)
    with pytest.raises(InputError, match="not a study's folder"):
        open_study(tmp_path)
    with pytest.raises(InputError, match="would change what the study is"):
        open_study(whole.folder, ["tuning.steps=9"])


def test_bad_data_show_before_anything_is_played(tmp_path: Path) -> None:
    sweep = {"strategies.0": ["zero_shot", "label_prior"]}
    with pytest.raises(InputError, match=r"strategies\.0=label_prior,seed=1: strategies: label_prior"):
        new_study(asked(tmp_path, sweep=sweep), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- prices, tables, processes ----------------------------------------------------------------------------------------


def test_a_study_is_priced_with_what_its_points_share(whole: Study, tmp_path: Path) -> None:
    """Of 6 who join 4 are audited, of 3 there are 2; tuned once in each phase and under each of two rules."""
    prices, need = prices_of(whole.points, tmp_path / "out")
    assert [price.clients for price in prices] == [6, 3]
    assert [price.tunings[0] for price in prices] == [2 * (6 + 2 + 4), 2 * (3 + 1 + 2)]
    assert sum(price.tunings[1] for price in prices) == len(TUNED)
    assert prices[0].tunings[0] == prices[0].tunings[1]
    assert prices[0].alone == prices[0].here
    assert prices[1].here < prices[1].alone
    two = WorkersSpec.model_validate({"kind": "ray", "count": 2})
    told = totals([replace(price, alone=30.0, here=20.0) for price in prices], two)
    spent = clock(PROGRAM + 20)
    assert (
        f"{len(TUNED)} clients tuned, {spent}; its points one after another 60 s of one worker, the largest 30 s" in told[0]
    )
    (needed, _), alone = need.disk[str(tmp_path / "out")], prices_of(whole.points[:1], tmp_path / "out")[1]
    assert needed > alone.disk[str(tmp_path / "out")][0]


def test_points_share_the_time_in_which_speeds_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four points of two learning rates: a step takes no longer where fewer join."""
    speeds = Speeds({"plain": 0.5}, {"plain": 0.25}, 0.125, 4.0, 5.0, 30.0, 9000)
    asked_for: list[tuple[float, int]] = []

    def measured(scenario: Scenario, site: Site, sizes: Sizes, run: Any, scenarios: int) -> tuple[Sizes, Speeds]:
        asked_for.append((scenario.tuning.lr, scenarios))
        return sizes, speeds

    monkeypatch.setattr("sim.study.price.measured", measured)
    sweep = {"tuning.lr": [0.01, 0.02], "stream.join": [3, 6]}
    study = new_study(asked(tmp_path, sweep=sweep, strategies=["average"]), tmp_path / "out")
    assert len(prices_of(study.points, tmp_path / "priced")[0]) == 4
    assert sorted(asked_for) == [(0.01, 2), (0.02, 2)]


def test_the_table_shows_the_longest_axis_across_and_means_over_seeds() -> None:
    content = {
        "name": "s",
        "metric": "accuracy",
        "axes": {"a": [1], "clients": [2, 4]},
        "seeds": [1, 2],
        "strategies": ["x"],
    }
    rows = [
        {"a": 1, "clients": clients, "seed": seed, "label": "x", "accuracy.held_in_after": value}
        for clients, seed, value in [(2, 1, 0.25), (2, 2, 0.5), (4, 1, None)]
    ]
    (table,) = tables(content, rows, 100)
    assert [str(column.header) for column in table.columns] == ["clients", "2", "4"]
    assert [str(next(iter(column.cells))) for column in table.columns] == ["x", "0.375", "–"]
    assert str(table.title) == "s, a = 1: accuracy held in, after the deletions, mean of 2 seeds"


@pytest.mark.parametrize(
    ("workers", "points", "processes"),
    [
        ({"kind": "inline", "count": 4}, 6, 1),
        ({"kind": "ray", "count": 4}, 6, 4),
        ({"learn": "flower", "stream": "ray", "count": 2}, 6, 2),
        ({"kind": "ray", "count": 4}, 3, 3),
        ({"kind": "ray", "count": 4, "address": "auto"}, 6, 1),
        ({"kind": "ray", "count": 4, "gpus": 0.5}, 6, 1),
    ],
)
def test_points_are_played_by_as_many_processes_as_there_are_workers(
    workers: dict[str, Any], points: int, processes: int
) -> None:
    assert at_once(WorkersSpec.model_validate(workers), points) == processes


def test_the_time_of_a_study_is_that_of_its_processes(whole: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.plan.machine.cores", lambda: 2)
    point = whole.points[0]
    large = Price(point, 500, (750, 750), 600.0, 600.0, 40.0)
    small = Price(point, 250, (375, 25), 300.0, 100.0, 10.0)
    tiny = Price(point, 2, (3, 0), 2.0, 1.0, 0.0)
    ray, inline = WorkersSpec.model_validate({"kind": "ray", "count": 2}), WorkersSpec.model_validate({"kind": "inline"})
    assert seconds_of([large, small, tiny], ray) == PROGRAM + 400  # the other process tunes 200 seconds' worth for it
    assert seconds_of([large, small, small, small, small], ray) == PROGRAM + 500
    assert seconds_of([large, small, tiny], inline) == PROGRAM + 701
    assert seconds_of([large], ray) == PROGRAM + STARTING["ray"] + WAITING * 300  # the scenario's own workers play it


def test_processes_are_as_many_as_memory_has_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = {"tuning.steps": [1, 2, 3, 4]}
    study = new_study(asked(tmp_path, workers={"kind": "ray", "count": 4, "cohort": 2}, sweep=sweep), tmp_path / "out")
    for free, others in ((10**12, 3), (2500, 1), (1500, 0), (500, 0)):
        need = Need({}, (1000, free), ("", 0), ("", 0))
        monkeypatch.setattr("sim.study.study.room_for", lambda scenario, out, need=need: need)
        assert other_processes(study) == others


# -- sharing and the store --------------------------------------------------------------------------------------------


def test_each_client_is_tuned_once_for_all_points_and_a_deletion_or_an_audit_does_its_own_work(whole: Study) -> None:
    def told(clients: int, event: str) -> list[str]:
        return [record["client"] for record in ledger(point(whole, clients)) if record["event"] == event]

    forgotten = {clients: told(clients, "forget") for clients in (3, 6)}
    joined = {clients: set(told(clients, "join")) for clients in (3, 6)}
    assert [len(set(forgotten[clients])) for clients in (3, 6)] == [1, 2]
    audited = set[str]().union(*(joined[clients] - set(forgotten[clients]) for clients in (3, 6)))
    assert Counter(TUNED) == Counter(
        (client, rule)
        for rule in ("plain", "sign_fixed")
        for client in (*joined[6], *audited, *set(forgotten[3]), *set(forgotten[6]))
    )


def test_deletions_take_vectors_from_the_store_where_that_is_asked_for_and_nothing_else_changes(
    whole: Study, tmp_path: Path
) -> None:
    study = new_study(
        asked(tmp_path, sweep={"clients": [3, 6]}, workers=TINY["workers"] | {"share_deletions": True}), tmp_path / "out"
    )
    tuned: list[tuple[str, str]] = []
    with noting(tuned):
        play(study)
    for clients, gone in ((3, 1), (6, 2)):
        assert timeless(summary(point(study, clients))) == timeless(summary(point(whole, clients)))
        shared = [r for r in ledger(point(study, clients)) if r["event"] == "shared" and r["phase"] == "stream"]
        before = [r for r in ledger(point(whole, clients)) if r["event"] == "shared" and r["phase"] == "stream"]
        assert sum(r["parts"] for r in shared) == sum(r["parts"] for r in before) + 2 * gone
    assert len(tuned) == len(TUNED) - 2 * (1 + 2)
    assert sum(price.tunings[1] for price in prices_of(study.points, tmp_path / "priced")[0]) == len(tuned)


def parts_of(folder: Path, most: int | None = None) -> Parts:
    return Parts(folder / "parts", most)


def test_a_part_is_found_with_the_arrays_that_it_has_and_more_are_put_beside_them(tmp_path: Path) -> None:
    with parts_of(tmp_path) as parts:
        assert parts.find("aa", ["x"]) is None
        parts.add("aa", Part({"seconds": 0.5}, {"x": np.arange(3, dtype=np.int16)}))
        assert parts.find("aa", ["x", "y"]) is None
        parts.add("aa", Part({"seconds": 0.5}, {"y": np.ones(2, dtype=np.float32)}))
        found = parts.find("aa", ["x", "y"])
        assert found is not None
        assert found.facts == {"seconds": 0.5}
        assert found.arrays["x"].tolist() == [0, 1, 2]
        assert found.arrays["x"].dtype == np.int16


def test_a_store_that_is_full_erases_what_was_not_used_for_longest(tmp_path: Path) -> None:
    with parts_of(tmp_path, most=12_000) as parts:
        for name in ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j"):
            parts.add(name * 2, Part({}, {"x": np.zeros(1800, dtype=np.uint8)}))
            time.sleep(0.01)
            assert parts.find("aa", ["x"]) is not None  # it is used all the time
        there = [name for name in "abcdefghij" if parts.has(name * 2, ["x"])]
        assert sum(path.stat().st_size for path in (tmp_path / "parts").glob("*/*")) <= 12_000
    assert there[0] == "a"
    assert "b" not in there
    assert there[-1] == "j"


def test_a_part_that_is_damaged_is_made_again(tmp_path: Path) -> None:
    with parts_of(tmp_path) as parts:
        parts.add("aa", Part({}, {"x": np.zeros(4, dtype=np.uint8)}))
        next((tmp_path / "parts" / "aa").iterdir()).write_bytes(b"rubbish")
        assert parts.find("aa", ["x"]) is None
        parts.add("aa", Part({}, {"x": np.ones(4, dtype=np.uint8)}))
        found = parts.find("aa", ["x"])
        assert found is not None
        assert found.arrays["x"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(("least", "most", "dtype"), [(-128, 127, "i1"), (0, 128, "i2"), (-129, 0, "i2"), (0, 2**31, "i8")])
def test_whole_numbers_are_kept_in_the_smallest_type_that_holds_them(least: int, most: int, dtype: str) -> None:
    values = np.array([least, most], dtype=np.int64)
    assert sharing.smallest(values) == np.dtype(dtype)
    assert values.astype(sharing.smallest(values)).tolist() == [least, most]


def test_a_lock_is_held_by_one_process_until_it_ends(tmp_path: Path) -> None:
    hold = "import sys, time; from pathlib import Path; from sim.study.locks import Locks\n"
    hold += "locks = Locks(Path(sys.argv[1])); locks.take('a'); print('held', flush=True); time.sleep(60)\n"
    with (
        Locks(tmp_path / "lock") as locks,
        subprocess.Popen([sys.executable, "-c", hold, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True) as other,
    ):
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert locks.take("b")
        assert not locks.take("a")
        other.send_signal(signal.SIGKILL)
        assert locks.take("a", wait=True)
    assert (tmp_path / "lock").stat().st_size == 0


def test_scenarios_without_a_sweep_have_none() -> None:
    assert Scenario().sweep == {}
