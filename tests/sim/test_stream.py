"""Streams of events: requests, newcomers, returns, and clients who cannot be reached."""

import hashlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.data.population import Population, Recorded
from sim.scenario.stream import OfflineSpec, ReleaseSpec, StreamSpec, resolved
from sim.stream.requests import FORGET, JOIN, Request, batches, draw, is_offline, next_day, population

CLIENTS = tuple(f"u{i}" for i in range(30))


def who(clients: tuple[str, ...] = CLIENTS, joining: int | None = None, unseen: int = 0) -> Population:
    """A population of which the first clients join and the last are unseen."""
    return Population(clients=clients, joining=clients[:joining], unseen=clients[len(clients) - unseen :])


@given(st.integers(0, 30), st.integers(0, 1000))
def test_uniform_requests(requests: int, seed: int) -> None:
    drawn = draw(StreamSpec(requests=requests, days=10), who(), seed)
    assert len({request.client for request in drawn}) == requests
    assert {(request.kind, request.partial) for request in drawn} <= {(FORGET, False)}
    assert [request.day for request in drawn] == sorted(request.day for request in drawn)
    assert all(0 <= request.day <= 10 for request in drawn)
    assert drawn == draw(StreamSpec(requests=requests, days=10), who(CLIENTS[::-1]), seed)


def test_every_client_is_as_likely() -> None:
    first = [draw(StreamSpec(requests=1), who(CLIENTS[:3]), seed)[0].client for seed in range(600)]
    assert all(150 < first.count(client) < 250 for client in CLIENTS[:3])  # 200 ± 4.3 standard deviations


def test_releases_are_batches_in_order() -> None:
    drawn = draw(StreamSpec(requests=7), who(), 1)
    found = batches(StreamSpec(release=ReleaseSpec(every=3)), drawn)
    assert [list(batch.requests) for batch in found] == [drawn[:3], drawn[3:6], drawn[6:]]
    assert [batch.day for batch in found] == [drawn[2].day, drawn[5].day, drawn[6].day]
    assert [batch.evaluated for batch in found] == [False, False, True]
    assert batches(StreamSpec(), []) == []


@given(st.integers(1, 30), st.integers(0, 1000))
def test_who_joins(join: int, seed: int) -> None:
    joining, unseen = population(StreamSpec(join=join, unseen=30 - join), CLIENTS, seed)
    assert (len(joining), len(unseen)) == (join, 30 - join)
    assert sorted({*joining, *unseen}) == sorted(CLIENTS)
    assert list(joining) == [client for client in CLIENTS if client in joining]
    more, _ = population(StreamSpec(join=min(join + 3, 30)), CLIENTS, seed)
    assert set(joining) <= set(more)
    assert population(StreamSpec(unseen=30 - join), CLIENTS, seed) == (joining, unseen)


def test_everybody_joins_unless_asked() -> None:
    assert population(StreamSpec(), CLIENTS, 1) == (CLIENTS, ())


def test_a_stream_without_joins_is_drawn_as_ever() -> None:
    """Independent of the code: a sample of the names in order, and sorted days. Figures of published streams rest on it."""
    rng = random.Random("stream/7")
    chosen = rng.sample(sorted(CLIENTS), 4)
    days = sorted(rng.uniform(0, 365.0) for _ in chosen)
    right = [Request(client, round(day, 3)) for client, day in zip(chosen, days, strict=True)]
    assert draw(StreamSpec(requests=4), who(), 7) == right
    assert [(r.client, r.day) for r in right] == [("u7", 177.186), ("u11", 242.202), ("u25", 309.0), ("u19", 337.797)]


GOLDEN: list[tuple[int, int, dict[str, object], str]] = [
    (30, 7, {}, "25c539a5fb1d15be74282997ebde416a438de03873c5c58b570f990f61631592"),
    (
        30,
        8,
        {"requests": 10, "join": 20, "unseen": 3, "joins": 4, "returns": 3, "examples": 2, "rows": 2, "days": 50}
        | {"release": {"every": 3}},
        "640ad18a1e7190d1d847f205df4f3e7202331939932f0c7426a7e3ad2a800f00",
    ),
    (
        500,
        7,
        {"requests": 250, "release": {"every": 25}},
        "513ecb0da63ed18925ddabff3a2965abdda24d2459785ff51686e8ab32c39633",
    ),
    (
        40,
        4294967295,
        {"requests": 40, "returns": 5, "release": {"every": 40}},
        "048659e2f38b3e9994b105f33dc27c90a4f3aa68f053f12948459a0524b1a4da",
    ),
]
"""Of what ``draw`` and the batches gave before there were other streams: clients, seed, stream, SHA-256."""


@pytest.mark.parametrize(("clients", "seed", "stream", "right"), GOLDEN)
def test_streams_of_before_are_the_same(clients: int, seed: int, stream: dict[str, object], right: str) -> None:
    names = tuple(f"u{i}" for i in range(clients))
    spec = resolved(StreamSpec.model_validate(stream), clients)
    told = [
        [[request.client, request.day, request.kind, request.rows] for request in batch.requests]
        for batch in batches(spec, draw(spec, who(names, spec.join, spec.unseen), seed))
    ]
    assert hashlib.sha256(json.dumps(told).encode()).hexdigest() == right


@given(st.integers(0, 1000), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_joins_returns_and_requests_for_examples(seed: int, joins: int, returns: int, examples: int) -> None:
    """20 join at first, 3 are unseen, 7 may come later; of ten requests some are for two examples."""
    population_ = who(joining=20, unseen=3)
    spec = StreamSpec(requests=10, joins=joins, returns=returns, examples=examples, rows=2, days=50)
    drawn = draw(spec, population_, seed)
    assert len(drawn) == spec.events == 10 + joins + returns
    assert [request.day for request in drawn] == sorted(request.day for request in drawn)
    assert all(0 <= request.day <= 50 for request in drawn)
    asked = [request for request in drawn if request.kind == FORGET]
    assert sorted(request.rows for request in asked) == [0] * (10 - examples) + [2] * examples
    joined = [request for request in drawn if request.kind == JOIN]
    new = [request for request in joined if request.client in CLIENTS[20:27]]
    back = [request for request in joined if request.client in CLIENTS[:20]]
    assert (len({r.client for r in new}), len({r.client for r in back}), len(joined)) == (joins, returns, joins + returns)
    left = {request.client: request for request in asked}
    assert all(not left[r.client].partial and left[r.client].day <= r.day for r in back)
    plain = draw(StreamSpec(requests=10, days=50), population_, seed)
    assert [(r.client, r.day) for r in asked] == [(r.client, r.day) for r in plain]  # what comes beside changes nothing


def test_the_examples_of_a_request_are_drawn_from_those_that_the_client_has() -> None:
    keys = tuple("abcdefgh")
    mine = Population(clients=("u0",), examples={"u0": Recorded(train=keys, validation=("v",))})
    request = Request("u0", 3.5, rows=3)
    found = request.keys(mine, 7)
    assert found == request.keys(mine, 7) == tuple(sorted(found))
    assert len(set(found)) == 3
    assert set(found) <= set(keys)
    assert {request.keys(mine, seed) for seed in range(20)} != {found}
    fewer = Population(clients=("u0",), examples={"u0": Recorded(train=("a", "b", "b"))})
    assert request.keys(fewer, 7) == ("a", "b")
    assert Request("u0", 3.5, examples=("x",)).keys(mine, 7) == ("x",)
    assert Request("u0", 3.5).keys(mine, 7) == ()
    assert [r.partial for r in (request, Request("u0", 3.5, examples=("x",)), Request("u0", 3.5))] == [True, True, False]


def test_the_calendar_of_who_cannot_be_reached() -> None:
    spec = OfflineSpec(calendar={"u1": ((10, 20), (30, 31))})
    days = [9.9, 10.0, 19.9, 20.0, 30.5, 31.0]
    assert [is_offline(spec, "u1", day, 7) for day in days] == [False, True, True, False, True, False]
    assert not any(is_offline(spec, "u2", day, 7) for day in days)
    assert next_day(spec, ["u1"], 9.5, 7) == 20.5
    assert next_day(spec, ["u1"], 20.0, 7) == 21.0
    assert next_day(spec, ["u1", "u2"], 9.5, 7) == 10.5  # somebody is there


def test_the_chance_of_who_cannot_be_reached() -> None:
    """Drawn anew for each client and day, and the same whenever it is asked."""
    spec = OfflineSpec(probability=0.25)
    drawn = [is_offline(spec, f"u{client}", float(day), 7) for client in range(40) for day in range(50)]
    assert 400 < sum(drawn) < 600  # 500 ± 5 standard deviations
    assert drawn == [is_offline(spec, f"u{client}", float(day), 7) for client in range(40) for day in range(50)]
    assert not any(is_offline(OfflineSpec(), f"u{client}", 1.0, 7) for client in range(40))
    day = next_day(spec, ["u3"], 1.0, 7)
    assert not is_offline(spec, "u3", day, 7)
    assert all(is_offline(spec, "u3", before, 7) for before in range(2, int(day)))


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ({"join": 20, "unseen": 5, "joins": 6}, "stream.joins: 6 newcomers, but 5 clients neither join at first"),
        ({"joins": 1}, "stream.joins: 1 newcomers, but 0 clients neither join"),
        ({"requests": 5, "examples": 3, "returns": 3}, r"stream.examples \(3\) and stream.returns \(3\): together"),
        ({"requests": 2, "returns": 3}, "stream.requests = 2 at most, since only who was forgotten whole comes back"),
        ({"join": 20, "requests": 2, "joins": 1, "evaluate_after": [4]}, "stream.evaluate_after: 4 is not between 1 and"),
        ({"requests": 31}, "stream.requests: 31 requests, but only 30 clients join"),
    ],
)
def test_what_does_not_go_together_is_named(stream: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        resolved(StreamSpec.model_validate(stream), 30)


def test_the_defaults_of_a_stream() -> None:
    spec = resolved(StreamSpec(join=20, joins=3, returns=2), 30)
    assert (spec.join, spec.requests, spec.events, spec.evaluate_after) == (20, 5, 10, (10,))
    assert resolved(StreamSpec(requests=0), 30).evaluate_after == ()


@pytest.mark.parametrize("span", [(20, 10), (5, 5), (-1, 3), (0, float("inf"))])
def test_a_calendar_has_spans_of_days(span: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"u3: .* is no span of days; the first comes before the last"):
        OfflineSpec(calendar={"u3": (span,)})
