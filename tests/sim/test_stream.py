"""Streams of requests."""

from hypothesis import given
from hypothesis import strategies as st

from sim.scenario.model import StreamSpec
from sim.stream.requests import draw, population, releases

CLIENTS = tuple(f"u{i}" for i in range(30))


@given(st.integers(0, 30), st.integers(0, 1000))
def test_uniform_requests(requests: int, seed: int) -> None:
    drawn = draw(StreamSpec(requests=requests, days=10), CLIENTS, seed)
    assert len({request.client for request in drawn}) == requests
    assert [request.day for request in drawn] == sorted(request.day for request in drawn)
    assert all(0 <= request.day <= 10 for request in drawn)
    assert drawn == draw(StreamSpec(requests=requests, days=10), CLIENTS[::-1], seed)


def test_every_client_is_as_likely() -> None:
    first = [draw(StreamSpec(requests=1), CLIENTS[:3], seed)[0].client for seed in range(600)]
    assert all(150 < first.count(client) < 250 for client in CLIENTS[:3])  # 200 ± 4.3 standard deviations


def test_releases_are_batches_in_order() -> None:
    drawn = draw(StreamSpec(requests=7), CLIENTS, 1)
    assert releases(drawn, 3) == [drawn[:3], drawn[3:6], drawn[6:]]
    assert releases([], 3) == []


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
