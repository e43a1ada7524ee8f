"""When requests arrive, who asks, and when models are published again: arrays of any length, the same for a seed."""

import hashlib
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clients.data.population import Population
from clients.data.shards import Example, Shard
from clients.errors import InputError
from sim.scenario.arrivals import PRESETS
from sim.scenario.stream import ReleaseSpec, StreamSpec, resolved
from sim.stream import releasing
from sim.stream.drawing import FORGETS, JOINS, Askers, Drawn, drawn
from sim.stream.releasing import releases
from sim.stream.requests import Request, batches, draw

MILLION = 1_000_000


def made(stream: dict[str, Any], clients: int = 1000, seed: int = 7, others: int = 0) -> Drawn:
    """A stream of clients who all join."""
    spec = resolved(StreamSpec.model_validate(stream), clients + others)
    return drawn(spec, Askers(clients, others), seed)


# -- arrivals ---------------------------------------------------------------------------------------------------------


def test_a_poisson_stream_has_its_rate_and_gaps_without_memory() -> None:
    day = made({"arrivals": {"name": "poisson", "per_year": 200_000}, "examples": 1.0}).day
    assert abs(len(day) - 200_000) < 5 * math.sqrt(200_000)
    gaps = np.diff(day) * 200_000 / 365
    assert abs(gaps.mean() - 1) < 0.01
    assert abs(gaps.std() - 1) < 0.01
    assert abs((gaps > 1).mean() - math.exp(-1)) < 0.01
    assert (np.diff(day) >= 0).all()
    assert day[0] >= 0
    assert day[-1] <= 365


@pytest.mark.parametrize(
    ("preset", "clients", "expected"),
    [
        ("datagrail-2021", MILLION, 84),
        ("datagrail-2020", 10 * MILLION, 420),
        ("walmart-2020", 5, 6194),
        ("ccpa-2023", 5, 2_447_707),
    ],
)
def test_presets_have_the_rates_of_their_sources(preset: str, clients: int, expected: int) -> None:
    spec = resolved(StreamSpec.model_validate({"arrivals": {"name": "poisson", "preset": preset}, "population": clients}), 5)
    assert spec.arrivals.rate(clients) * 365 == pytest.approx(expected)
    assert StreamSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_an_opening_day_is_a_burst_on_a_base_rate() -> None:
    bursts = {"name": "bursts", "per_year": 3650, "bursts": [{"day": 100, "requests": 5000, "days": 10}]}
    day = made({"arrivals": bursts, "examples": 1.0}).day
    inside = ((day >= 100) & (day < 110)).sum()
    assert abs(inside - 5100) < 5 * math.sqrt(5100)
    assert abs(len(day) - inside - 3550) < 5 * math.sqrt(3550)
    cut = made({"arrivals": bursts, "examples": 1.0, "days": 105}).day  # half of the burst, and 105 days
    assert abs(len(cut) - 3550) < 5 * math.sqrt(3550)
    drop = made({"arrivals": {"name": "bursts", "preset": "drop-2026"}, "population": MILLION}, MILLION).day
    assert abs(len(drop) - 155_000) < 5 * math.sqrt(155_000)
    assert drop[-1] < 20


def test_a_decaying_start_halves() -> None:
    arrivals = {"name": "decaying", "first": 1000, "halving": 30}
    day = made({"arrivals": arrivals, "examples": 1.0, "days": 90}).day
    expected = 1000 * 30 / math.log(2) * (1 - 2**-3)
    assert abs(len(day) - expected) < 5 * math.sqrt(expected)
    months = np.histogram(day, [0, 30, 60, 90])[0]
    assert months[1] / months[0] == pytest.approx(0.5, abs=0.02)
    assert months[2] / months[1] == pytest.approx(0.5, abs=0.03)
    google = PRESETS["google-2014"].values
    assert google["first"] * 2 ** (-4 * 365.25 / google["halving"]) == pytest.approx(410, abs=1)  # a day in 2018


def test_agents_bring_several_at_once() -> None:
    stream = {"arrivals": {"name": "poisson", "per_year": 50_000}, "examples": 1.0}
    alone, lots = made(stream).day, made(stream | {"agents": {"shape": 1.16, "most": 1000}}).day
    assert len(lots) == len(alone)
    sizes = np.array(list(Counter(lots.tolist()).values()))
    assert set(lots) <= set(alone)
    assert 0.5 < (sizes == 1).mean() < 0.6  # 1 - 2**-1.16 = 0.553
    assert sizes.max() > 100
    assert (np.diff(lots) >= 0).all()


@given(st.integers(0, 2**32 - 1))
def test_a_seed_gives_the_same_bytes(seed: int) -> None:
    stream = {"arrivals": {"name": "poisson", "per_year": 200}, "order": "pareto", "examples": 0.5, "agents": {}}
    one, two = made(stream, seed=seed), made(stream, seed=seed)
    assert [column.tobytes() for column in one.columns] == [column.tobytes() for column in two.columns]


def test_these_bytes_are_those_of_every_machine() -> None:
    """Written down once: a stream that differs from them on another machine or library is another stream."""
    stream = {
        "arrivals": {"name": "bursts", "per_year": 500, "bursts": [{"day": 9, "requests": 200, "days": 3}]},
        "order": {"name": "exponential", "rate": 2.5},
        "examples": 0.25,
        "rows": 3,
        "returns": {"per_year": 20},
        "agents": {"shape": 1.5, "most": 20},
    }
    found = made(stream)
    told = hashlib.sha256(b"".join(column.tobytes() for column in found.columns)).hexdigest()
    assert told == RIGHT


RIGHT = "616c099074a9073cc545cdd1d458f9b45427656d8c5a9aa5ffe3cbbffcce01b3"


# -- who asks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["uniform", "exponential", "pareto", "oldest", "newest"])
def test_who_is_forgotten_whole_asks_once(order: str) -> None:
    found = made({"requests": 600, "order": order, "arrivals": "uniform"})
    assert len(set(found.client.tolist())) == 600
    assert set(found.kind.tolist()) == {FORGETS}
    if order in ("oldest", "newest"):
        assert found.client.tolist() == (list(range(600)) if order == "oldest" else list(range(999, 399, -1)))


def test_who_asks_for_examples_may_ask_often() -> None:
    """Of a Pareto asker with shape 1.16 the first of 1,000 has 1 - 2**-1.16 of the weight (of that up to 1,000)."""
    found = made({"requests": 1000, "order": "pareto", "examples": 1.0, "rows": 4}, clients=1000)
    counts = Counter(found.client.tolist())
    assert set(found.rows.tolist()) == {4}
    assert counts.most_common(1)[0][1] / 1000 == pytest.approx(1 - 2**-1.16, abs=0.06)
    even = made({"requests": 1000, "examples": 1.0}, clients=1000)
    assert len(set(even.client.tolist())) == 1000  # as it ever was: each once
    some = made({"arrivals": {"name": "poisson", "per_year": 3000}, "examples": 1.0}, clients=10)
    counts = Counter(some.client.tolist())
    assert all(abs(counts[client] - len(some) / 10) < 5 * math.sqrt(len(some) / 10) for client in range(10))


def test_an_exponential_asker_falls_as_its_rate_says() -> None:
    """With rate r the first half of the clients has 1 / (1 + exp(-r / 2)) of the weight."""
    found = made({"requests": 1000, "order": {"name": "exponential", "rate": 4.0}, "examples": 1.0}, clients=1000)
    counts = Counter(found.client.tolist())
    often = sum(count for _, count in counts.most_common(500))
    assert often / 1000 >= 1 / (1 + math.exp(-2.0)) - 0.05


def shard(client: str, answers: str, group: str = "") -> Shard:
    return Shard(client, tuple(Example(f"{client} {n}", answer) for n, answer in enumerate(answers)), group=group)


def test_orders_by_data() -> None:
    shards = [shard("c", "aab", "DE"), shard("a", "b", "DE"), shard("d", "bb", "FR"), shard("b", "aaaa")]
    who = Population(clients=("c", "a", "d", "b"), joining=("c", "a", "d", "b"))

    def asked(order: Any, requests: int = 4) -> list[str]:
        spec = resolved(StreamSpec.model_validate({"requests": requests, "order": order}), 4)
        return [request.client for request in draw(spec, who, 7, shards)]

    assert asked("largest") == ["b", "c", "d", "a"]
    assert asked("smallest") == ["a", "d", "c", "b"]
    assert asked("oldest") == ["c", "a", "d", "b"]
    assert asked("newest") == ["b", "d", "a", "c"]
    assert asked({"name": "listed", "clients": ["d", "a"]}, 2) == ["d", "a"]
    assert set(asked({"name": "labels", "weights": {"a": 0}}, 2)) == {"a", "d"}  # b is what most of theirs are
    assert set(asked({"name": "labels", "weights": {"b": 0}}, 2)) == {"b", "c"}
    assert set(asked({"name": "groups", "weights": {"FR": 0, "": 0}}, 2)) == {"c", "a"}
    assert asked({"name": "groups", "weights": {"DE": 0, "": 0}}, 1) == ["d"]
    assert asked({"name": "adaptive"}, 2) == ["", ""]
    with pytest.raises(InputError, match="3 requests for all of a client's examples arrive, but only 2 clients can ask"):
        asked({"name": "labels", "weights": {"b": 0}}, 3)
    with pytest.raises(InputError, match=r"stream.order.clients: nobody is none of those who join"):
        asked({"name": "listed", "clients": ["d", "nobody"]}, 2)


def test_joins_and_returns_have_rates_of_their_own() -> None:
    stream = {
        "arrivals": {"name": "poisson", "per_year": 300},
        "join": 1000,
        "joins": {"per_year": 100},
        "returns": {"per_year": 50},
    }
    found = made(stream, others=400)
    joining = found.client[found.kind == JOINS]
    new, back = (joining >= 1000).sum(), (joining < 1000).sum()
    assert abs(new - 100) < 50
    assert abs(back - 50) < 36
    left = {int(c): float(d) for c, d, k in zip(found.client, found.day, found.kind, strict=True) if k == FORGETS}
    assert all(left[int(c)] <= d for c, d in zip(found.client, found.day, strict=True) if int(c) in left)
    assert not set(joining[joining < 1000].tolist()) - left.keys()


def test_more_requests_than_clients_are_refused() -> None:
    with pytest.raises(InputError, match="but only 40 clients can ask, each once; let fewer arrive, or ask for examples"):
        made({"arrivals": {"name": "poisson", "per_year": 5000}}, 40)


# -- traces ---------------------------------------------------------------------------------------------------------------


def traced(path: Path, **more: Any) -> list[Request]:
    spec = resolved(StreamSpec.model_validate({"arrivals": {"name": "trace", "source": str(path)}, **more}), 3)
    return draw(spec, Population(clients=("a", "b", "c"), joining=("a", "b", "c")), 7)


def test_a_trace_is_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "asked.csv"
    path.write_text("client,time,kind,rows\nb,0.5,,\na,2,forget,3\nb,400.25,join,0\n", encoding="utf-8")
    right = [Request("b", 0.5), Request("a", 2.0, rows=3), Request("b", 400.25, "join")]
    assert traced(path) == right
    table = pa.table(
        {"time": [0.5, 2.0, 400.25], "client": ["b", "a", "b"], "rows": [None, 3, 0], "kind": [None, "forget", "join"]}
    )
    pq.write_table(table, tmp_path / "asked.parquet")
    assert traced(tmp_path / "asked.parquet") == right
    path.write_text("time,client\n2026-01-02,a\n2026-01-03T12:00:00,b\n", encoding="utf-8")
    assert [request.day for request in traced(path, start="2026-01-01")] == [1.0, 2.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,client\n1,a\n2,nobody\n", "line 3: there is no client 'nobody' in this scenario; there are a, b, c"),
        ("time,client\n5,a\n4,b\n", "line 3: time 4 is before that of the line above"),
        ("time,client,kind\n5,a,leave\n", "line 2: kind 'leave' is none; write forget or join"),
        ("time,client,rows\n5,a,-2\n", "line 2: rows '-2' is no number of examples"),
        ("time,client\nsoon,a\n", "line 2: time 'soon' is neither a number of days nor a date"),
        ("time,client\n2026-01-02,a\n", "line 2: time 2026-01-02 is a date, and stream.start does not say"),
        ("time,client\n-1,a\n", "line 2: time -1 is not after day 0"),
        ("time,client\nnan,a\n", "line 2: time nan is not after day 0"),
        ("time\n1\n", "line 1: there is no column client"),
        ("time,client,who\n1,a,b\n", "line 1: column 'who' is none of"),
        ("time,client\n1\n", "line 2: 1 values for 2 columns"),
    ],
)
def test_a_trace_that_does_not_fit_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "asked.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        traced(path)
    assert f"{path}, {said}" in str(error.value)
    with pytest.raises(InputError, match=r"stream.arrivals.source: .*missing.csv: cannot be read"):
        traced(tmp_path / "missing.csv")


# -- releases -------------------------------------------------------------------------------------------------------------

DAYS = st.lists(st.integers(0, 400), min_size=1, max_size=40).map(lambda days: np.array(sorted(days)) / 4.0)


def plainly(day: np.ndarray, spec: ReleaseSpec, deadline: float) -> list[tuple[int, float]]:
    """One request after another: who waits, and when is the next release due?"""
    found: list[tuple[int, float]] = []
    start = 0
    ticks = spec.calendar or tuple(spec.days * n for n in range(1, 2000)) if spec.days or spec.calendar else ()
    while start < len(day):
        due = [tick for tick in ticks if tick >= day[start]][:1]
        due += [day[start] + deadline - spec.before_deadline] if spec.before_deadline is not None else []
        due += [day[start + spec.every - 1]] if spec.every and start + spec.every <= len(day) else []
        when = min(due, default=day[-1])
        end = start + sum(day[start:] <= when)
        if spec.every:
            end = min(end, start + spec.every)
        found.append((int(end), float(when)))
        start = end
    return found


@pytest.mark.parametrize(
    "release",
    [
        {"every": 1},
        {"every": 3},
        {"days": 7},
        {"days": 7, "every": 3},
        {"calendar": [5, 20, 50, 100]},
        {"calendar": [5, 20, 50, 100], "every": 2},
        {"before_deadline": 5},
        {"before_deadline": 0, "every": 4},
    ],
)
@given(day=DAYS)
def test_releases_are_those_of_the_plain_way(release: dict[str, Any], day: np.ndarray) -> None:
    spec = ReleaseSpec.model_validate(release)
    ends, days = releases(day, spec, 30.0)
    assert list(zip(ends.tolist(), days.tolist(), strict=True)) == plainly(day, spec, 30.0)


def test_releases_by_hand() -> None:
    day = np.array([1.0, 2.0, 2.5, 9.0, 31.0, 33.0])

    def found(**release: Any) -> list[tuple[int, float]]:
        ends, days = releases(day, ReleaseSpec.model_validate(release), 45.0)
        return list(zip(ends.tolist(), days.tolist(), strict=True))

    assert found() == [(n + 1, float(day[n])) for n in range(6)]
    assert found(every=4) == [(4, 9.0), (6, 33.0)]
    assert found(days=10) == [(4, 10.0), (6, 40.0)]
    assert found(days=10, every=3) == [(3, 2.5), (4, 10.0), (6, 40.0)]
    assert found(calendar=[2, 31, 60]) == [(2, 2.0), (5, 31.0), (6, 60.0)]
    assert found(before_deadline=15) == [(5, 31.0), (6, 63.0)]


def test_a_calendar_that_ends_too_early_is_refused() -> None:
    with pytest.raises(InputError, match=r"calendar: ends on day 20, and 2 requests come later, the last on day 33"):
        releases(np.array([1.0, 21.0, 33.0]), ReleaseSpec.model_validate({"calendar": [10, 20]}))


def test_a_deadline_that_nobody_can_meet_is_refused() -> None:
    stream = {"arrivals": {"name": "poisson", "per_year": 100}, "release": {"calendar": [900]}, "deadline": 45}
    spec = resolved(StreamSpec.model_validate(stream), 1000)
    with pytest.raises(InputError, match=r"stream.deadline: 45 days cannot be met: .* every request wait for 5\d\d days"):
        releasing.check(spec, drawn(spec, Askers(1000), 7))
    kept = spec.model_copy(update={"deadline": 800.0})
    assert releasing.check(kept, drawn(kept, Askers(1000), 7))[1].tolist() == [900.0]


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ({"arrivals": {"name": "poisson"}}, "poisson needs per_year, per_million or a preset"),
        ({"arrivals": {"name": "poisson", "per_year": 1, "per_million": 1}}, "give per_year or per_million"),
        (
            {"arrivals": {"name": "poisson", "per_year": 1, "halving": 1}},
            "arrivals.halving: poisson takes per_year, per_million",
        ),
        ({"arrivals": {"preset": "datagrail"}}, "there are datagrail-2020"),
        ({"arrivals": {"name": "decaying", "first": 1}}, "decaying needs first and halving"),
        ({"arrivals": {"name": "bursts", "per_year": 3}}, "bursts needs bursts"),
        ({"arrivals": {"name": "trace"}}, "trace needs source"),
        ({"arrivals": {"name": "trace", "source": "x.csv"}, "order": "pareto"}, "a trace says who asks for what"),
        ({"arrivals": {"name": "poisson", "per_year": 1}, "requests": 3}, "poisson arrivals decide the number of requests"),
        ({"order": {"name": "uniform", "shape": 2}}, "order.shape: uniform takes no parameters"),
        ({"order": "labels"}, "labels needs weights"),
        ({"order": "groups"}, "groups needs weights"),
        ({"order": "listed"}, "listed needs clients, each once"),
        ({"order": {"name": "listed", "clients": ["a", "b"]}, "requests": 3}, "2 clients are listed for 3 requests"),
        ({"order": "adaptive", "returns": 1}, "adaptive asks for whole clients"),
        ({"population": 50, "order": "largest"}, "largest needs data, and clients of a stream.population have none"),
        ({"release": {"days": 3, "calendar": [3]}}, "days and calendar are two plans"),
        ({"release": {"every": None}}, "give every, days, calendar or before_deadline"),
        ({"release": {"calendar": ["2026-01-01"]}}, "dates need stream.start"),
        ({"release": {"calendar": [5, 3]}}, "days follow each other"),
        ({"release": {"before_deadline": 45}}, "45 days before the deadline is before the request arrives"),
        ({"release": {"before_deadline": 4}, "deadline": None}, "needs stream.deadline"),
    ],
)
def test_what_a_stream_cannot_be_is_named(stream: dict[str, Any], said: str) -> None:
    with pytest.raises((ValidationError, ValueError)) as error:
        resolved(StreamSpec.model_validate(stream), 30)
    assert said in str(error.value)


def test_dates_are_days_from_the_start() -> None:
    release = {"calendar": ["2026-08-01", "2026-09-15"]}
    spec = resolved(StreamSpec.model_validate({"start": "2026-01-01", "release": release}), 30)
    assert spec.release.calendar == (212.0, 257.0)


@pytest.mark.parametrize(
    ("after", "right"),
    [
        (None, [0, 0, 0, 1]),
        ((2,), [1, 0, 0, 0]),
        ((4, 99), [0, 1, 0, 1]),
        ({"days": [10, 25]}, [1, 0, 1, 0]),
        ("releases", [1, 1, 1, 1]),
        ((), [0, 0, 0, 0]),
    ],
)
def test_when_is_evaluated(after: Any, right: list[int]) -> None:
    asked = [Request("a", day) for day in (1.0, 2.0, 15.0, 16.0, 23.0, 38.0)]
    found = batches(StreamSpec.model_validate({"evaluate_after": after, "release": {"days": 10}}), asked)
    assert [batch.day for batch in found] == [10.0, 20.0, 30.0, 40.0]
    assert [batch.evaluated for batch in found] == [bool(each) for each in right]
