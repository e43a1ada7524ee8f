"""The service that is simulated: refusals, prices, queue and grids; by hand, against plan, a played run and Ciw."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import life_of, rehearsed
from hypothesis import given
from hypothesis import strategies as st
from test_run import records_of
from test_times import HOUR, slow
from tiny_scenario import TINY, tiny

from clients.errors import InputError
from sim import cli
from sim.plan import work
from sim.plan.rehearsal import Rehearsal
from sim.plan.sizes import Sizes
from sim.run import run_scenario
from sim.scenario.model import Scenario
from sim.scenario.stream import ReleaseSpec
from sim.service import absent, figures, prices, service, simulation, speeds, table
from sim.service.prices import Counts, Priced
from sim.service.service import Service
from sim.service.speeds import Seconds
from sim.stream.arrivals import generator
from sim.stream.clock import DAY, in_turn, makespan
from sim.stream.drawing import FORGETS, JOINS, Drawn
from strategies.work import Work

SECONDS = Seconds({"plain": 6 * HOUR, "sign_fixed": 6 * HOUR}, 15 * HOUR, HOUR, 0.0)
STRATEGIES: list[Any] = [
    "mask_only",
    {"average": {"alpha": 1.0}},
    {"sift_masks": {"keep": 0.5}},
    {"clamu": {"clusters": 2, "steps": 2}},
    {"clamu": {"label": "pairs", "clusters": 2, "steps": 2, "affinity": "task_vectors"}},
    "emr",
    {"sisa": {"shards": 2, "slices": 2, "steps": 2, "batch": 8}},
    {"central": {"steps": 4, "batch": 8}},
]
SIZES = Sizes(tuple(f"u{n}" for n in range(8)), 5000, 4000, 10, features=16)


def stream_of(asked: list[tuple[int, int, int]]) -> Drawn:
    """Requests (client, kind, rows), a day apart."""
    client, kind, rows = (np.array(column, dtype=np.int64) for column in zip(*asked, strict=True))
    return Drawn(np.arange(len(asked), dtype=np.float64), client, kind, rows)


ASKED = st.tuples(st.integers(0, 5), st.sampled_from([FORGETS, JOINS]), st.integers(0, 1))


@given(st.lists(ASKED, min_size=1, max_size=40))
def test_refused_is_who_is_not_there_or_there_already(asked: list[tuple[int, int, int]]) -> None:
    asked = [(client, kind, 0 if kind == JOINS else rows) for client, kind, rows in asked]
    there, right = {0, 1, 2, 3}, []
    for client, kind, rows in asked:
        right.append((client in there) != (kind == JOINS))
        if kind == JOINS:
            there.add(client)
        elif not rows:
            there.discard(client)
    assert service.carried_out(stream_of(asked), 4).tolist() == right


def counts_of(**columns: list[int]) -> Counts:
    found = [np.array(columns[name]) for name in ("staying", "leaving", "changed", "joining")]
    return Counts(*found, np.zeros_like(found[0]))


def priced(scenario: Scenario, rehearsal: Rehearsal, mine: Service) -> dict[str, Priced]:
    """The price of every strategy."""
    services = absent.by_label(scenario, mine, rehearsal)
    return {label: service.price(scenario, rehearsal, label, own, None, SECONDS) for label, own in services.items()}


@pytest.mark.parametrize("every", [1, 2, 5])
def test_small_services_are_priced_as_the_plan_prices_runs(cache: Path, every: int) -> None:
    stream = {"join": 6, "requests": 3, "examples": 1, "joins": 1, "returns": 1, "release": {"every": every}}
    scenario = tiny(data=TINY["data"] | {"clients": 7}, strategies=STRATEGIES, stream=stream, audit=[])
    rehearsal = rehearsed(scenario)
    drawn = service.stream_of(scenario, 7)
    mine = service.served(scenario, drawn, service.carried_out(drawn, 6))
    releases = work.releases_of(scenario, rehearsal.sizes.clients, 7)
    for label, found in priced(scenario, rehearsal, mine).items():
        both = work.forgetting(rehearsal, label, releases) + work.joining(rehearsal, label, releases)
        steps = work.steps_of(rehearsal.strategies[label].rule, scenario.tuning)
        assert found.steps.sum() == both.gradient_steps(steps), label
        assert found.tunings.sum() == both.tunings, label
        if every == 1:
            assert prices.tunings(rehearsal, label, mine.counts).tolist() == found.tunings.tolist(), label


def test_a_large_service_is_priced_as_dry_runs_of_its_members_are() -> None:
    """Of 700 members, of whom some leave: what is fitted to 128 and 256 is what a dry run of all would say."""
    scenario = tiny(
        strategies=STRATEGIES[:5] + STRATEGIES[5:6] + STRATEGIES[7:], stream={"population": 10**6, "requests": 0}
    )
    rehearsal = Rehearsal(scenario, SIZES, 7)
    counts = counts_of(staying=[700, 699, 600], leaving=[0, 1, 100], changed=[0, 0, 0], joining=[0, 0, 0])
    everybody = prices.imagined(700)
    for label in rehearsal.strategies:
        found = prices.priced(rehearsal, label, counts, SECONDS)
        assert (found.steps[0], found.localizing[0], found.longest[0]) == (0, 0, 0)
        for index, stay in ((1, 699), (2, 600)):
            right = rehearsal.localizing(label, everybody, everybody[:stay])
            assert found.localizing[index] == pytest.approx(SECONDS.of(right), rel=0.02), label
            tuned = int(found.tunings[index]) * work.steps_of(rehearsal.strategies[label].rule, scenario.tuning)
            assert found.steps[index] - tuned == pytest.approx(right.gradient_steps(0), rel=0.02), label
        assert (found.longest <= found.localizing + 1e-6).all()
    erased, subtracted, _, _, _, rebuilt, central = (
        prices.priced(rehearsal, label, counts, SECONDS).steps.tolist() for label in rehearsal.strategies
    )
    assert erased == [0, 0, 0]
    assert subtracted == [0, 3, 300]
    assert rebuilt == [0, 3 * 699, 3 * 600]
    assert central == [0, 4, 4]


def test_storage_grows_as_the_files_do() -> None:
    rehearsal = Rehearsal(tiny(strategies=STRATEGIES, stream={"requests": 0}), SIZES, 7)
    for label in rehearsal.strategies:
        right = prices.needs.storage(rehearsal, label, prices.imagined(600))
        assert prices.storage(rehearsal, label, 600) == pytest.approx(right, rel=0.02)
    assert prices.storage(rehearsal, "average", 10**6) == prices.storage(rehearsal, "average", 8)
    gram = prices.storage(rehearsal, "pairs", 10**6) / prices.storage(rehearsal, "pairs", 10**5)
    assert gram == pytest.approx(100, rel=0.01)
    slices = Rehearsal(tiny(strategies=[{"sisa": {"shards": 20, "slices": 5}}], stream={"requests": 0}), SIZES, 7)
    assert 0 < prices.storage(slices, "sisa", 10**6) <= 101 * slices.layout(None).vector_bytes


def test_a_release_on_many_workers_by_hand() -> None:
    """Five tunings of 10 s on two workers take 30 s; then 100 s of which 60 cannot be divided."""
    each = Priced(np.array([5]), 10.0, np.array([100.0]), np.array([60.0]), np.array([5.0]))
    assert [float(column[0]) for column in each.lengths(1)] == [50.0, 150.0]
    assert [float(column[0]) for column in each.lengths(2)] == [30.0, 90.0]
    assert [float(column[0]) for column in each.lengths(100)] == [10.0, 70.0]
    assert each.seconds == 150.0
    tunings = [10.0] * 5
    assert each.lengths(2)[0][0] == makespan([tunings], 2)


@pytest.mark.parametrize(
    ("counted", "right"), [((5, 10), 1), ((7, 7), 0), ((7, 9), 0), ((100, 400), 2), ((0, 3), 0), ((3, 80), 2)]
)
def test_growth_is_a_power(counted: tuple[int, int], right: int) -> None:
    assert prices._power(np.array(counted, dtype=np.float64), 2.0) == right


def test_the_workers_that_are_needed_are_the_fewest() -> None:
    rng = generator(7, "workers")
    day = np.sort(rng.random(500) * 100)
    drawn = Drawn(day, np.arange(500), np.zeros(500, np.int64), np.zeros(500, np.int64))
    due = np.arange(10.0, 101.0, 10.0)
    number = np.searchsorted(due, day)
    leaving = np.bincount(number, minlength=10)
    counts = counts_of(
        staying=(1000 - leaving.cumsum()).tolist(), leaving=leaving.tolist(), changed=[0] * 10, joining=[0] * 10
    )
    mine = Service(drawn, np.ones(500, dtype=bool), number, due, counts)
    each = Priced(leaving, 3 * HOUR, np.full(10, 2 * DAY), np.full(10, HOUR), np.zeros(10))
    needed = service.workers_needed(mine, each, 12.0)

    def late(workers: int) -> float:
        return float((service.waited(mine, each, workers)[0] > 12.0).mean())

    assert needed is not None
    assert needed > 1
    assert late(needed) <= 0.01 < late(needed - 1)
    assert service.workers_needed(mine, Priced(leaving, 30 * DAY, np.zeros(10), np.zeros(10), np.zeros(10)), 12.0) is None


# -- beside a played run and another simulator ----------------------------------------------------------------------------


@pytest.mark.parametrize("refused", [False, True])
def test_a_played_run_has_the_times_of_the_simulation(cache: Path, tmp_path: Path, refused: bool) -> None:
    """Fed with the same service times: every release starts, is done and is published in the same second."""
    again = "4.5,u0\n" if refused else ""
    (tmp_path / "asked.csv").write_text(f"time,client\n1,u0\n2,u1\n3,u2\n4,u3\n{again}5,u4\n", encoding="utf-8")
    arrivals = {"name": "trace", "source": str(tmp_path / "asked.csv")}
    stream = {"arrivals": arrivals, "release": {"every": 2}, "days": 10}
    strategies = ["mask_only", {"average": {"alpha": 1.0}}, {"clamu": {"clusters": 1, "steps": 2}}]
    scenario = tiny(strategies=strategies, stream=stream, workers={"kind": "inline", "cohort": 3, "count": 2}, audit=[])
    run = run_scenario(scenario, tmp_path / "run", slow)
    drawn = service.stream_of(scenario, 7)
    mine = service.served(scenario, drawn, service.carried_out(drawn, 8))
    assert service.is_small(scenario, mine) is not refused
    found = priced(scenario, rehearsed(scenario), mine)
    for label, each in found.items():
        out, whole = each.lengths(2)
        starts, published = in_turn(mine.due, whole / DAY)
        told = [line["times"][label] for line in records_of(run, "release")]
        for index, right in enumerate(told):
            assert abs(starts[index] - right["start"]) * DAY < 1
            assert abs(starts[index] + out[index] / DAY - right["done"]) * DAY < 1
            assert abs(published[index] - right["published"]) * DAY < 1
        waited, _ = service.waited(mine, each, 2)
        summed = json.loads((run / "summary.json").read_text())["strategies"][label]
        assert waited.max() == pytest.approx(summed["time_to_forget"]["max"], abs=1 / DAY)
        assert service.result(scenario, mine, each, 0)["backlog"] == summed["backlog"]
    assert life_of(run).record["refused"] == int((~mine.meant).sum()) == int(refused)


def test_ciw_has_the_same_waits_on_the_same_arrivals() -> None:
    """One server and three, with given arrivals and service times, to 1e-9."""
    ciw = pytest.importorskip("ciw")
    rng = generator(7, "ciw")
    gaps, lengths = rng.exponential(1.0, 400), rng.exponential(0.9, 400)
    due = np.cumsum(gaps)
    for servers in (1, 3):
        scaled = lengths * servers
        network = ciw.create_network(
            arrival_distributions=[ciw.dists.Sequential([*gaps.tolist(), math.inf])],
            service_distributions=[ciw.dists.Sequential(scaled.tolist())],
            number_of_servers=[servers],
        )
        simulation_ = ciw.Simulation(network)
        simulation_.simulate_until_max_time(10_000)
        records = sorted(simulation_.get_all_records(), key=lambda record: record.id_number)
        assert len(records) == 400
        theirs = np.array([record.service_start_date for record in records])
        if servers == 1:
            mine, _ = in_turn(due, scaled)
        else:
            from sim.stream.clock import queue

            mine = np.array(queue(due.tolist(), scaled.tolist(), servers)[0])
        assert np.abs(np.sort(theirs) - np.sort(mine)).max() < 1e-9


def test_ciw_releases_on_the_same_days() -> None:
    ciw = pytest.importorskip("ciw")
    from sim.stream.releasing import published_by, releases

    gaps = generator(8, "ciw").exponential(1.0, 200)
    day = np.cumsum(gaps)
    calendar = [10.0, 25.0, 60.0, 100.0, 180.0, 300.0]
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential([*gaps.tolist(), math.inf])],
        service_distributions=[ciw.dists.Deterministic(0.0)],
        number_of_servers=[ciw.Slotted(slots=calendar, slot_sizes=[1000] * len(calendar))],
    )
    simulation_ = ciw.Simulation(network)
    simulation_.simulate_until_max_time(300.5)
    theirs = {record.id_number: record.service_start_date for record in simulation_.get_all_records()}
    ends, due = releases(day, ReleaseSpec.model_validate({"calendar": calendar}))
    mine = due[published_by(ends, len(day))]
    assert [theirs[number + 1] for number in range(200)] == pytest.approx(mine.tolist())


# -- grids, errors and files ----------------------------------------------------------------------------------------------


@pytest.fixture
def scenario_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    keep = {key: value for key, value in TINY.items() if key not in ("stream", "strategies")}
    strategies = ["local", {"average": {"alpha": 1.0}}, "emr"]
    path.write_text(json.dumps(keep | {"strategies": strategies, "stream": {"requests": 4, "days": 100}}), encoding="utf-8")
    return path


def test_a_list_is_a_grid_where_the_scenario_takes_none(scenario_file: Path) -> None:
    found = simulation.points(
        str(scenario_file),
        ["workers.count=[1, 2]", "stream.evaluate_after=[2, 4]", "stream.release=[{every: 2}, {days: 30}]", "seeds=[3]"],
    )
    assert [told for told, _ in found] == [
        {"workers.count": count, "stream.release": release} for count in (1, 2) for release in ({"every": 2}, {"days": 30})
    ]
    assert [(s.workers.count, s.stream.release.every, s.seeds) for _, s in found] == [
        (1, 2, (3,)), (1, None, (3,)), (2, 2, (3,)), (2, None, (3,)),
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"workers\.count"):
        simulation.points(str(scenario_file), ["workers.count=[0, 2]"])
    assert len(simulation.points(str(scenario_file), [])) == 1


def test_the_command_writes_what_it_finds(cache: Path, scenario_file: Path, tmp_path: Path) -> None:
    cli.simulate(str(scenario_file), ["workers.count=[1, 2]", "workers.watts=100"], None, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "simulation.json").read_text())
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {
        "simulation.json", "figures", "tradeoff.svg", "tradeoff.png",
    }  # fmt: skip
    assert list(content["strategies"]) == ["local", "average", "emr"]
    for found in content["strategies"].values():
        time = found["time_to_forget"]
        assert {"median", "p95", "p99", "max"} <= time.keys()
        assert time["median"] <= time["p95"] <= time["p99"] <= time["max"]
        assert found["late_share"] == time["late_share"] == 0.0
        assert (found["requests"], found["releases"], found["refused"]) == (4, 4, 0)
        assert found["energy_kwh"] == pytest.approx(found["machine_hours"] / 10, abs=1e-6)
        assert 0 <= found["utilisation"] < 1
    assert [found["gradient_steps"] for found in content["strategies"].values()] == [0, 4 * 3, 3 * (7 + 6 + 5 + 4)]
    assert [point["set"] for point in content["points"]] == [{"workers.count": 1}, {"workers.count": 2}]
    plans = [each["release"] for each in content["policies"]]
    assert plans[0] == {"every": 1}
    assert {"days": 40.0} in plans
    with pytest.raises(InputError, match=r"out: exists already"):
        cli.simulate(str(scenario_file), [], None, tmp_path / "out")


def test_speeds_of_a_finished_run(cache: Path, scenario_file: Path, tmp_path: Path) -> None:
    """Of the slow workers: six hours a tuning, fifteen a mask step of a client."""
    strategies = [{"average": {"alpha": 1.0}}, {"clamu": {"clusters": 1, "steps": 2}}]
    run = run_scenario(
        tiny(strategies=strategies, stream={"requests": 2, "release": {"every": 2}}, audit=[]), tmp_path / "run", slow
    )
    scenario = Scenario.model_validate(TINY | {"strategies": strategies, "tuning": {"steps": 6}})
    found = speeds.told(run, scenario, {"plain"})
    assert found.tuning["plain"] == pytest.approx(12 * HOUR)  # twice the steps
    assert found.mask == pytest.approx(15 * HOUR)
    assert found.of(Work(mask_steps=3)) == pytest.approx(45 * HOUR)
    with pytest.raises(InputError, match=r"--speeds .*: nobody was tuned under the rule sign_fixed there"):
        speeds.told(run, scenario, {"plain", "sign_fixed"})
    with pytest.raises(InputError, match="not a run folder"):
        speeds.told(tmp_path, scenario, {"plain"})


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["stream.order=adaptive"], "stream.order: adaptive asks by scores"),
        (["stream.release={calendar: [20]}"], "calendar: ends on day 20"),
        (["stream.arrivals={name: poisson, per_year: 900}", "stream.requests=null"], "but only 8 clients can ask"),
        (
            ["stream.population=100", "stream.arrivals={name: trace, source: missing.csv}", "stream.requests=null"],
            "cannot be read",
        ),
    ],
)
def test_what_cannot_be_simulated_is_told(cache: Path, scenario_file: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        simulation.simulate(str(scenario_file), overrides, None)


def test_a_deadline_that_no_plan_can_meet_is_told(cache: Path, scenario_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "machine_of", lambda scenario, run: simulation.Machine(SIZES, SECONDS))
    overrides = ["strategies=[average, emr]", "stream.deadline=0.1"]
    with pytest.raises(
        InputError, match=r"stream.deadline: 0.1 days cannot be met by any release plan: even average takes 0.25"
    ):
        simulation.simulate(str(scenario_file), overrides, None)
    assert simulation.simulate(str(scenario_file), [overrides[0], "stream.deadline=0.3"], None)["deadline"] == 0.3


def test_a_million_clients_have_the_steps_of_their_tunings(
    cache: Path, scenario_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """84 deletions per million and year: average derives each vector again, emr everybody's at each release."""
    monkeypatch.setattr(simulation, "machine_of", lambda scenario, run: simulation.Machine(SIZES, SECONDS))
    stream = "stream={population: 1000000, arrivals: {name: poisson, preset: datagrail-2021}, release: {days: 30}}"
    content = simulation.simulate(str(scenario_file), [stream, "workers.count=[1, 100000]"], None)
    found = content["strategies"]
    requests = found["average"]["requests"]
    assert abs(requests - 84) < 46
    assert found["average"]["gradient_steps"] == 3 * requests
    assert found["emr"]["gradient_steps"] == pytest.approx(3 * found["emr"]["releases"] * 1e6, rel=1e-3)
    assert content["estimated"]
    hours = 6 * found["emr"]["releases"] * 1e6
    assert found["emr"]["machine_hours"] == pytest.approx(hours, rel=1e-3)
    assert found["emr"]["late_share"] > 0.9  # a million tunings of six hours on one worker
    many = content["points"][1]["strategies"]["emr"]
    assert many["time_to_forget"]["max"] <= 30 + 2.6
    assert many["workers_needed"] == found["emr"]["workers_needed"] > 10_000


def test_a_service_that_nobody_asks_is_told(cache: Path, scenario_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "machine_of", lambda scenario, run: simulation.Machine(SIZES, SECONDS))
    content = simulation.simulate(str(scenario_file), ["stream.requests=[0, 2]"], None)
    found = content["strategies"]["average"]
    assert (found["requests"], found["workers_needed"], found["gradient_steps"]) == (0, None, 0)
    assert found["time_to_forget"]["median"] is None
    point = figures.told(content)
    assert point is not None
    assert point["set"] == {"stream.requests": 2}
    assert next(table.lines(content)) == "2 deletions, 0 requests refused, in 2 releases with requests 2."
    nothing = simulation.simulate(str(scenario_file), ["stream.requests=0"], None)
    assert figures.told(nothing) is None
    assert list(table.lines(nothing)) == ["Nobody asks to be forgotten."]


def test_the_cheapest_plan_has_the_fewest_steps_in_time() -> None:
    def plan(name: int, p99: float, steps: float) -> dict[str, Any]:
        found = {"time_to_forget": {"p99": p99}, "gradient_steps_per_deletion": steps}
        return {"release": {"every": name}, "strategies": {"x": found}}

    content = {"deadline": 45, "policies": [plan(1, 1, 9), plan(2, 30, 5), plan(3, 20, 5), plan(4, 46, 1)]}
    best = figures.cheapest(content, "x")
    assert best is not None
    assert best["release"] == {"every": 3}
    assert figures.cheapest({"deadline": 0.5, "policies": content["policies"]}, "x") is None


@pytest.mark.parametrize("policy", ["wait", "rebuild"])
def test_who_cannot_be_reached_waits_as_in_a_played_run(cache: Path, tmp_path: Path, policy: str) -> None:
    """u1 comes back before the last release, u3 after it; who erases waits for nobody."""
    (tmp_path / "asked.csv").write_text("time,client\n1,u0\n2,u1\n3,u2\n4,u3\n5,u4\n6,u5\n", encoding="utf-8")
    arrivals = {"name": "trace", "source": str(tmp_path / "asked.csv")}
    calendar = {"u1": [[1.5, 5.5]], "u3": [[3, 7.5]]}
    stream = {
        "arrivals": arrivals, "release": {"every": 2}, "days": 10, "offline": {"calendar": calendar, "policy": policy},
    }  # fmt: skip
    strategies = ["mask_only", {"average": {"alpha": 1.0}}]
    scenario = tiny(strategies=strategies, stream=stream, workers={"kind": "inline", "cohort": 1, "count": 1}, audit=[])
    run = run_scenario(scenario, tmp_path / "run", slow)
    drawn = service.stream_of(scenario, 7)
    mine = service.served(scenario, drawn, service.carried_out(drawn, 8))
    rehearsal = rehearsed(scenario)
    told = records_of(run, "release")
    days = [2.0, 4.0, 6.0, 8.0] if policy == "wait" else [2.0, 4.0, 6.0]
    assert [line["day"] for line in told] == days
    services = absent.by_label(scenario, mine, rehearsal)
    assert services["average"].due.tolist() == days
    assert services["mask_only"].due.tolist() == [2.0, 4.0, 6.0]
    found = priced(scenario, rehearsal, mine)
    _, lengths = found["average"].lengths(1)
    _, published = in_turn(services["average"].due, lengths / DAY)
    assert np.abs(published - [line["times"]["average"]["published"] for line in told]).max() * DAY < 1
    summed = json.loads((run / "summary.json").read_text())["strategies"]["average"]
    assert found["average"].steps.sum() == summed["gradient_steps"]["forget"]
    waited, _ = service.waited(services["average"], found["average"], 1)
    assert waited.max() == pytest.approx(summed["time_to_forget"]["max"], abs=1 / DAY)
