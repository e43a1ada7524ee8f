"""Streams as arrays: who asks for what when. One code for runs that are played and for those that are only simulated.

Clients are numbers: those who join at first from 0 on, then those who may come later, each in the order of their names.
A stream of uniform arrivals and askers is drawn as it ever was, with Python's generator: published figures rest on it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clients.errors import InputError
from sim.scenario.arrivals import OrderSpec, Rate
from sim.scenario.stream import StreamSpec, share
from sim.stream import arrivals, trace
from sim.stream.arrivals import Floats, Ints, generator

FORGETS, JOINS = 0, 1
"""Kinds of requests."""
SOMEBODY = -1
"""A client who is chosen when it is released, by an adaptive asker."""


@dataclass(frozen=True)
class Drawn:
    """Requests in the order of their arrival.

    Attributes:
        day: of arrival, float64 [n].
        client: number, int64 [n].
        kind: FORGETS or JOINS, int64 [n].
        rows: examples that it names, int64 [n]; 0: all.
    """

    day: Floats
    client: Ints
    kind: Ints
    rows: Ints

    def __len__(self) -> int:
        return len(self.day)

    @property
    def columns(self) -> tuple[Floats, Ints, Ints, Ints]:
        """All of it, in this order."""
        return self.day, self.client, self.kind, self.rows


@dataclass(frozen=True)
class Askers:
    """Who may ask.

    Attributes:
        joining, others: how many join at first, and how many others are no unseen ones.
        names: of both, in the order of their numbers; none where they are only imagined.
        place: of those who join the place in the data's order, int64 [joining]; None: that of their numbers.
        sizes: their examples, likewise; None where no order asks for it.
        labels: the label that most of a client's examples have, likewise.
        groups: the group that each is in, likewise.
    """

    joining: int
    others: int = 0
    names: Sequence[str] = ()
    place: Ints | None = None
    sizes: Ints | None = None
    labels: Sequence[str] = ()
    groups: Sequence[str] = ()

    def named(self, number: int) -> str:
        """A client's name; one who is only imagined has a number."""
        return self.names[number] if self.names else f"u{number}"


def drawn(spec: StreamSpec, who: Askers, seed: int) -> Drawn:
    """The stream of a seed; ``spec`` is resolved.

    Raises:
        InputError: a trace does not fit, or there are more requests than clients who may ask.
    """
    if spec.arrivals.name == "trace":
        names = {who.named(number): number for number in range(who.joining + who.others)}
        return Drawn(*trace.read(spec.arrivals.source, names, spec.start))
    if spec.arrivals.name == "uniform" and spec.order.name == "uniform" and spec.agents is None:
        day, client = _as_ever(spec, who, seed)
        some = random.Random(f"stream/{seed}/examples").sample(range(len(day)), share(spec.examples, len(day)))
        partial = np.isin(np.arange(len(day)), some)
    else:
        day = _days(spec, who, seed)
        count = share(spec.examples, len(day))
        if count > len(day):
            raise InputError(f"stream.examples: {count} of {len(day)} requests that arrive; write a share, as in 0.5")
        partial = np.isin(np.arange(len(day)), generator(seed, "examples").permutation(len(day))[:count])
        client = _clients(spec.order, who, partial, seed)
    rows = np.where(partial, spec.rows, 0).astype(np.int64)
    first = Drawn(day, client, np.zeros(len(day), np.int64), rows)
    found = [first, _returns(spec, first, seed), _newcomers(spec, who, seed)]
    columns = [np.concatenate(column) for column in zip(*(each.columns for each in found), strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Drawn(*(column[order] for column in columns))


def _as_ever(spec: StreamSpec, who: Askers, seed: int) -> tuple[Floats, Ints]:
    rng = random.Random(f"stream/{seed}")
    assert spec.requests is not None
    chosen = rng.sample(range(who.joining), spec.requests)
    days = sorted(rng.uniform(0, spec.days) for _ in chosen)
    return np.array([round(day, 3) for day in days], dtype=np.float64), np.array(chosen, dtype=np.int64)


def _days(spec: StreamSpec, who: Askers, seed: int) -> Floats:
    if spec.arrivals.name == "uniform":
        assert spec.requests is not None
        day = arrivals.uniform(spec.requests, spec.days, seed)
    else:
        day = arrivals.times(spec.arrivals, who.joining, spec.days, seed)
    return day if spec.agents is None else arrivals.together(day, spec.agents, seed)


def _clients(order: OrderSpec, who: Askers, partial: np.ndarray, seed: int) -> Ints:
    """Who makes each request: for the whole of it everybody once, for some examples anybody as often as it comes.

    Args:
        partial: which requests are for examples.
    """
    if order.name == "adaptive":
        return np.full(len(partial), SOMEBODY, dtype=np.int64)
    rng, wholes = generator(seed, "askers"), int((~partial).sum())
    weights = _weights(order, who, rng)
    places = _ranked(order, who) if weights is None else _by_weight(weights, rng)
    if wholes > len(places):
        raise InputError(
            f"stream: {wholes:,} requests for all of a client's examples arrive, but only {len(places):,} clients can ask, "
            "each once; let fewer arrive, or ask for examples (stream.examples: 1.0)"
        )
    found = np.empty(len(partial), dtype=np.int64)
    found[~partial] = places[:wholes]
    if weights is None:
        found[partial] = places[np.arange(len(partial) - wholes) % max(len(places), 1)]
    else:
        total = np.cumsum(weights)
        found[partial] = np.searchsorted(total, rng.random(len(partial) - wholes) * total[-1], side="right")
    return found


def _weights(order: OrderSpec, who: Askers, rng: np.random.Generator) -> Floats | None:
    """How likely each asks; None where the order says who."""
    rank = rng.permutation(who.joining)
    if order.name == "uniform":
        return np.ones(who.joining)
    if order.name == "exponential":
        return np.exp(-order.rate * rank / who.joining)
    if order.name == "pareto":
        return (1.0 + rank) ** -order.shape - (2.0 + rank) ** -order.shape
    if order.name == "labels":
        return np.array([order.weights.get(label, 1.0) for label in who.labels])
    if order.name == "groups":
        return np.array([order.weights.get(group, 1.0) for group in who.groups])
    return None


def _by_weight(weights: Floats, rng: np.random.Generator) -> Ints:
    """All clients of some weight, drawn one after another without putting back."""
    there = np.flatnonzero(weights > 0)
    return there[np.argsort(rng.standard_exponential(len(weights))[there] / weights[there], kind="stable")]


def _ranked(order: OrderSpec, who: Askers) -> Ints:
    place = np.arange(who.joining) if who.place is None else who.place
    if order.name == "listed":
        numbers = {who.named(number): number for number in range(who.joining)}
        if unknown := [client for client in order.clients if client not in numbers]:
            raise InputError(f"stream.order.clients: {unknown[0]} is none of those who join")
        return np.array([numbers[client] for client in order.clients], dtype=np.int64)
    if order.name in ("oldest", "newest"):
        return np.argsort(place if order.name == "oldest" else -place, kind="stable")
    assert who.sizes is not None
    return np.lexsort((place, who.sizes if order.name == "smallest" else -who.sizes))


def _returns(spec: StreamSpec, asked: Drawn, seed: int) -> Drawn:
    """Clients who come back some time after they asked to be forgotten."""
    rng, left = random.Random(f"stream/{seed}/returns"), np.flatnonzero(asked.rows == 0).tolist()
    wanted = spec.returns
    count = min(arrivals.poisson(wanted, spec.days, seed, "returns"), len(left)) if isinstance(wanted, Rate) else wanted
    if count > len(left):
        raise InputError(f"stream.returns: {count} come back, but only {len(left)} are forgotten whole")
    back = rng.sample(left, count)
    days = [round(rng.uniform(float(asked.day[index]), spec.days), 3) for index in back]
    return _joining(days, [int(asked.client[index]) for index in back])


def _newcomers(spec: StreamSpec, who: Askers, seed: int) -> Drawn:
    rng, wanted = random.Random(f"stream/{seed}/joins"), spec.joins
    count = arrivals.poisson(wanted, spec.days, seed, "joins") if isinstance(wanted, Rate) else wanted
    if count > who.others:
        raise InputError(f"stream.joins: {count} newcomers, but {who.others} clients neither join at first nor are unseen")
    new = rng.sample(range(who.joining, who.joining + who.others), count)
    return _joining([round(rng.uniform(0, spec.days), 3) for _ in new], new)


def _joining(days: list[float], who: list[int]) -> Drawn:
    numbers = np.array(who, dtype=np.int64)
    return Drawn(np.array(days, dtype=np.float64), numbers, np.full(len(who), JOINS, np.int64), np.zeros(len(who), np.int64))
