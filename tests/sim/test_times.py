"""Played runs on the simulated clock: when requests start, are done and published, by hand; and whom an adversary picks."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import life_of
from test_run import records_of, summary_of
from tiny_scenario import TINY, tiny

from clients.errors import InputError
from clients.jobs import Job, Reply
from clients.settings import Settings
from clients.work.site import open_site
from sim.life import record as records
from sim.life import times
from sim.run import resume, run_scenario
from sim.scenario.workers import Kind, WorkersSpec
from sim.stream import clock
from sim.workers.workers import InlineWorkers, Workers

HOUR = 3600.0
HOURS = {"tune": 6.0, "learn_mask": 30.0, "score": 0.0}
"""Of a job of each kind, for each client."""


class Slow(InlineWorkers):
    """Workers whose jobs take hours, as they say."""

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        jobs = list(jobs)
        for index, reply in super().run(jobs, shared):
            reply.facts["seconds"] = HOUR * HOURS[jobs[index].kind] * len(jobs[index].clients)
            for each in reply.facts.get("clients", {}).values():
                each["seconds"] = HOUR * HOURS[jobs[index].kind]
            yield index, reply


@contextmanager
def slow(spec: WorkersSpec, kind: Kind, settings: Settings) -> Iterator[Workers]:
    yield Slow(open_site(settings))


TRACE = "time,client\n1,u0\n2,u1\n3,u2\n4,u3\n4.5,u0\n5,u4\n"
STREAM: dict[str, Any] = {"release": {"every": 2}, "deadline": 3, "days": 10, "evaluate_after": [3]}


@pytest.fixture(scope="module")
def slowly(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six requests, of which the fifth is refused, in releases of two on days 2, 4 and 5."""
    folder = tmp_path_factory.mktemp("slowly")
    (folder / "asked.csv").write_text(TRACE, encoding="utf-8")
    stream = STREAM | {"arrivals": {"name": "trace", "source": str(folder / "asked.csv")}}
    strategies = ["mask_only", {"average": {"alpha": 1.0}}, {"clamu": {"clusters": 1, "steps": 2}}]
    workers = {"kind": "inline", "cohort": 3, "count": 2}
    scenario = tiny(strategies=strategies, stream=stream, workers=workers, audit=[])
    return run_scenario(scenario, folder / "run", slow)


def days(hours: float) -> float:
    return hours / 24


def test_the_ledger_has_start_done_and_published(slowly: Path) -> None:
    """Two workers derive two vectors in 6 hours, and one derives the last one in as many. The mask of the one cluster takes
    30 hours for each member, on one worker: 6 members are left, then 4, then 3."""
    found = [line["times"] for line in records_of(slowly, "release")]
    assert [line["day"] for line in records_of(slowly, "release")] == [2.0, 4.0, 5.0]
    for times_, day in zip(found, [2.0, 4.0, 5.0], strict=True):
        assert times_["mask_only"] == {"start": day, "done": day, "published": day}
        assert times_["average"] == {"start": day, "done": day + days(6), "published": day + days(6)}
    last = 0.0
    for times_, day, members in zip(found, [2.0, 4.0, 5.0], [6, 4, 3], strict=True):
        start = max(day, last)
        last = start + days(6 + 30 * members)
        assert times_["clamu"] == pytest.approx({"start": start, "done": start + days(6), "published": last}, abs=1e-8)


def test_the_summary_has_the_time_to_forget(slowly: Path) -> None:
    told = summary_of(slowly)
    assert (told["refused"], told["deadline"], told["days"]) == (1, 3.0, 10.0)
    assert told["times"]["arrival"] == [1.0, 2.0, 3.0, 4.0, 5.0]
    waited = [1.0, 0.0, 1.0, 0.0, 0.0]
    erased, average, clamu = (told["strategies"][label] for label in ("mask_only", "average", "clamu"))
    assert erased["time_to_forget"] == {"median": 0.0, "p95": 1.0, "p99": 1.0, "max": 1.0, "late_share": 0.0}
    assert average["time_to_forget"]["max"] == 1.25
    assert average["time_to_forget"]["median"] == 0.25
    assert erased["backlog"] == {"most": 1, "mean": 0.2}  # two waited a day, of ten
    assert average["utilisation"] == pytest.approx(5 * 6 / 24 / 2 / 10)
    ends = [2 + days(186), 2 + days(186 + 126), 2 + days(186 + 126 + 96)]
    published = np.repeat(ends, [2, 2, 1])
    assert told["times"]["published"]["clamu"] == pytest.approx(published.tolist(), abs=1e-8)
    late = (published - [1, 2, 3, 4, 5] > 3).mean()
    assert clamu["time_to_forget"]["late_share"] == late == 1.0
    assert clamu["time_to_forget"]["max"] == pytest.approx(ends[-1] - 5)
    assert [point["day"] for point in told["curve"]["average"]] == [0.0, 4.0]
    assert told["compressed"] == round(5 / 8 * 365 / 10 * 1e6 / 84, 1)
    assert [
        release["day"] - arrival for release in life_of(slowly).record["released"] for arrival in release["arrivals"]
    ] == waited


def test_a_trace_is_kept_where_the_file_is_gone(slowly: Path) -> None:
    (slowly.parent / "asked.csv").unlink()
    life = life_of(slowly)
    assert [[r.client for r in batch.requests] for batch in life.batches] == [["u0", "u1"], ["u2", "u3"], ["u0", "u4"]]
    assert [batch.evaluated for batch in life.batches] == [False, True, False]
    resume(slowly)  # nothing is owed


def test_seconds_are_in_no_state(slowly: Path, tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_text(TRACE, encoding="utf-8")
    scenario = life_of(slowly).system.scenario
    arrivals = scenario.stream.arrivals.model_copy(update={"source": str(tmp_path / "asked.csv")})
    stream = scenario.stream.model_copy(update={"arrivals": arrivals})
    quick = run_scenario(scenario.model_copy(update={"stream": stream}), tmp_path / "quick")
    one, two = (summary_of(run)["strategies"] for run in (slowly, quick))
    assert {label: each["state_digest"] for label, each in one.items()} == {
        label: each["state_digest"] for label, each in two.items()
    }
    assert one["clamu"]["time_to_forget"] != two["clamu"]["time_to_forget"]


def test_a_played_run_is_the_arrays_of_the_clock(slowly: Path) -> None:
    """Fed with the same service times, all releases at once are those of the run, to the second."""
    released = life_of(slowly).record["released"]
    due = np.array([release["day"] for release in released])
    for label in ("mask_only", "average", "clamu"):
        told = np.array([release["times"][label] for release in released])
        starts, published = clock.in_turn(due, told[:, 2] - told[:, 0])
        assert np.abs(starts - told[:, 0]).max() * clock.DAY < 1
        assert np.abs(published - told[:, 2]).max() * clock.DAY < 1


def test_runs_of_before_have_no_times() -> None:
    old = records.BEFORE | {"state_digest": {"average": "x"}, "forget": {"average": {"seconds": 1.0}}}
    old |= {"join": {"average": {"seconds": 0.0}}, "deleted": 0, "joined": ["u0"]}
    found = times.of_strategy(tiny(), [old], "average")
    assert found["time_to_forget"]["median"] is None
    assert found["backlog"] == {"most": 0, "mean": 0.0}
    assert times.compressed(tiny(), [old]) is None


# -- who asks and sees the models -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["highest", "lowest"])
def test_an_adversary_picks_by_published_scores(cache: Path, tmp_path: Path, score: str) -> None:
    """At each release those of the highest or lowest score in the evaluation before it, which the metrics tell."""
    order = {"name": "adaptive", "strategy": "average", "score": score}
    stream = {"requests": 4, "order": order, "release": {"every": 2}, "evaluate_after": "releases"}
    scenario = tiny(strategies=["local", {"average": {"alpha": 1.0}}], stream=stream, audit=[])
    run = run_scenario(scenario, tmp_path / "run")
    rows = [row for row in life_of(run).rows if row["strategy"] == "average"]
    asked = [line["client"] for line in records_of(run, "request")]
    assert len(set(asked)) == 4
    there = {f"u{n}" for n in range(8)}
    for number in (0, 1):
        scores = {row["client"]: row["value"] for row in rows if row["events"] == 2 * number and row["client"] in there}
        worst_first = sorted(there, key=lambda client: (scores[client] * (-1 if score == "highest" else 1), client))
        assert asked[2 * number : 2 * number + 2] == worst_first[:2]
        there -= {*worst_first[:2]}


def test_an_adversary_sees_a_strategy_of_the_scenario(cache: Path, tmp_path: Path) -> None:
    stream = {"requests": 4, "order": {"name": "adaptive", "strategy": "nobody"}}
    with pytest.raises(InputError, match=r"stream.order.strategy: nobody is no label"):
        run_scenario(tiny(stream=stream), tmp_path / "run")


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ({"population": 100}, "stream.population: only unmerge simulate"),
        ({"arrivals": {"name": "poisson", "per_year": 900}}, "but only 8 clients can ask"),
        ({"release": {"calendar": [3]}}, "calendar: ends on day 3"),
        ({"release": {"calendar": [900]}}, "stream.deadline: 45 days cannot be met"),
    ],
)
def test_a_stream_that_cannot_be_is_told_before_any_work(
    cache: Path, tmp_path: Path, stream: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        run_scenario(tiny(stream=stream), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_orders_by_data_survive_forgetting(cache: Path, tmp_path: Path) -> None:
    """The largest ask first; once they are forgotten and their data unknown, the stream is what it was."""
    stream = {"requests": 3, "order": "largest", "release": {"every": 1}, "evaluate_after": [1, 2, 3]}
    data = TINY["data"] | {"pairs": 3}
    run = run_scenario(tiny(data=data, strategies=["mask_only"], stream=stream, audit=[]), tmp_path / "run")
    life = life_of(run)
    assert [batch.requests[0].client for batch in life.batches] == [line["client"] for line in records_of(run, "request")]
    assert [point["events"] for point in life.record["curve"]] == [0, 1, 2, 3]
