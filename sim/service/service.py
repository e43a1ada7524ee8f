"""A service in time: the requests of a stream, its releases, and each strategy's queue of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clients.errors import InputError
from clients.work.site import HERE
from sim.life.system import strategies_of
from sim.plan.rehearsal import Rehearsal
from sim.plan.work import releases_of
from sim.scenario.model import Scenario
from sim.scenario.stream import ReleaseSpec
from sim.service import prices
from sim.service.prices import Counts, Priced
from sim.service.speeds import Seconds
from sim.stream import clock, releasing, requests
from sim.stream.arrivals import Floats, Ints
from sim.stream.clock import DAY
from sim.stream.drawing import JOINS, Askers, Drawn, drawn

NAMED, FORMULAS = 2_000, 50_000
"""Members at all releases of a stream, up to which each release is priced by the names of those who leave: in dry runs, and
where every strategy has a formula."""
HOUR = 3600.0


@dataclass(frozen=True)
class Service:
    """A stream with its releases.

    Attributes:
        stream: all requests.
        meant: which of them can be carried out, bool [n]; the others are refused.
        release: of each the number of its release.
        due: the day of each release.
        counts: who leaves and joins at each.
    """

    stream: Drawn
    meant: np.ndarray
    release: Ints
    due: Floats
    counts: Counts

    @property
    def asked(self) -> np.ndarray:
        """Which requests are deletions that are carried out, bool [n]."""
        return self.meant & (self.stream.kind != JOINS)


def askers(scenario: Scenario, seed: int) -> Askers:
    """Who may ask: the clients of the data, or those that ``stream.population`` imagines."""
    spec = scenario.stream
    assert spec.join is not None
    if spec.population is not None or not (spec.order.reads_data or spec.arrivals.name == "trace" or spec.order.clients):
        everybody = spec.population or scenario.data.clients
        return Askers(spec.join, everybody - spec.join - spec.unseen)
    dataset = HERE.dataset(scenario.data, seed)
    who = requests.beginning(spec, dataset.manifest.clients, seed)
    return requests.askers_of(who, dataset.shards if spec.order.reads_data else ())


def check(scenario: Scenario) -> None:
    """Raise InputError for what cannot be simulated without models."""
    spec = scenario.stream
    if scenario.sweep:
        raise InputError("sweep: a study is played; simulate at several values by lists, as in --set workers.count=[1,2]")
    if spec.order.name == "adaptive":
        raise InputError(
            "stream.order: adaptive asks by scores, and nothing is scored where nothing is trained; play it with unmerge run"
        )


def under(scenario: Scenario, release: ReleaseSpec | None) -> Scenario:
    """The scenario with another release plan, or with its own."""
    if release is None:
        return scenario
    return scenario.model_copy(update={"stream": scenario.stream.model_copy(update={"release": release})})


def served(scenario: Scenario, stream: Drawn, meant: np.ndarray, release: ReleaseSpec | None = None) -> Service:
    """The releases of a stream under the scenario's plan, or another one.

    Args:
        meant: what ``carried_out`` says of the stream.

    Raises:
        InputError: a calendar ends too early, or no request can be published in time.
    """
    spec = under(scenario, release).stream
    assert spec.join is not None
    ends, due = releasing.check(spec, stream)
    number = releasing.published_by(ends, len(stream))
    return Service(stream, meant, number, due, counted(stream, meant, number, len(due), spec.join))


def counted(stream: Drawn, meant: np.ndarray, release: Ints, releases: int, joining: int) -> Counts:
    """Who leaves and joins at each of so many releases.

    Args:
        release: of every request the number of its release.
        joining: who joined at first.
    """

    def per_release(which: np.ndarray) -> Ints:
        return np.bincount(release[meant & which], minlength=releases).astype(np.int64)

    forgets = stream.kind != JOINS
    leaving, changed = per_release(forgets & (stream.rows == 0)), per_release(forgets & (stream.rows > 0))
    joined = per_release(~forgets)
    return Counts(joining + np.cumsum(joined - leaving), leaving, changed, joined, np.zeros(releases, dtype=np.int64))


def carried_out(stream: Drawn, joining: int) -> np.ndarray:
    """Which requests can be meant when it is their turn: of members to be forgotten, of others to join; bool [n].

    Whatever becomes of it, a client has left after it asked to be forgotten whole, and is there after it asked to join.
    """
    order = np.lexsort((np.arange(len(stream)), stream.client))
    client, kind, rows = stream.client[order], stream.kind[order], stream.rows[order]
    changes = (kind == JOINS) | (rows == 0)
    first = np.append(True, client[1:] != client[:-1]) if len(client) else np.empty(0, dtype=bool)
    place = np.arange(len(client))
    last = np.maximum.accumulate(np.where(changes, place, -1)) if len(client) else place
    last = np.append(-1, last[:-1]) if len(client) else last
    start = np.maximum.accumulate(np.where(first, place, 0)) if len(client) else place
    there = np.where(last >= start, kind[np.maximum(last, 0)] == JOINS, client < joining)
    found = np.empty(len(client), dtype=bool)
    found[order] = there != (kind == JOINS)
    return found


def price(
    scenario: Scenario, rehearsal: Rehearsal, label: str, service: Service, release: ReleaseSpec | None, seconds: Seconds
) -> Priced:
    """The price of a strategy's releases."""
    if not is_small(scenario, service):
        return prices.priced(rehearsal, label, service.counts, seconds)
    named = releases_of(under(scenario, release), rehearsal.sizes.clients, rehearsal.seed)
    return prices.by_name(rehearsal, label, named, seconds)


def is_small(scenario: Scenario, service: Service) -> bool:
    """Whether releases are priced by the names of those who leave; else prices are estimates."""
    members = int(service.counts.staying.sum())
    few = members <= NAMED or (members <= FORMULAS and _all_have_formulas(scenario))
    absent = scenario.stream.offline.probability or scenario.stream.offline.calendar
    return few and not absent and scenario.stream.population is None and bool(service.meant.all())


def _all_have_formulas(scenario: Scenario) -> bool:
    return all(each.work((), ()) is not None for each in strategies_of(scenario, scenario.seeds[0]).values())


def waited(service: Service, each: Priced, workers: int) -> tuple[Floats, Floats]:
    """Days from arrival to publication of every deletion that is carried out, and the days of these."""
    _, lengths = each.lengths(workers)
    _, published = clock.in_turn(service.due, lengths / DAY)
    asked = service.asked
    days = published[service.release[asked]]
    return days - service.stream.day[asked], days


def result(scenario: Scenario, service: Service, each: Priced, storage: int) -> dict[str, Any]:
    """What ``simulation.json`` says of a strategy."""
    workers, watts, deadline = scenario.workers.count, scenario.workers.watts, scenario.stream.deadline
    days, published = waited(service, each, workers)
    asked = service.stream.day[service.asked]
    until = max(scenario.stream.days, float(published.max(initial=0.0)))
    waiting = clock.backlog(asked, published)
    hours, deletions = each.seconds / HOUR, len(days)
    steps = float(each.steps.sum())
    time = clock.time_to_forget(days, deadline)
    return {
        "time_to_forget": time,
        "late_share": time["late_share"],
        "requests": deletions,
        "refused": int((~service.meant).sum()),
        "releases": len(service.due),
        "gradient_steps": round(steps),
        "gradient_steps_per_deletion": round(steps / deletions, 3) if deletions else None,
        "machine_hours": round(hours, 6),
        "energy_kwh": None if watts is None else round(hours * watts / 1000, 6),
        "utilisation": round(hours * HOUR / DAY / workers / until, 9),
        "backlog": {"most": int(waiting.max(initial=0)), "mean": round(float(days.sum()) / until, 3)},
        "storage_bytes": storage,
    }


def workers_needed(service: Service, each: Priced, deadline: float, share: float = 0.99, most: int = 2**20) -> int | None:
    """The fewest workers that publish this share of deletions in time; None if even ``most`` do not, or nobody asks."""

    def enough(workers: int) -> bool:
        days, _ = waited(service, each, workers)
        return bool((days <= deadline).mean() >= share)

    if not service.asked.any() or not enough(most):
        return None
    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def stream_of(scenario: Scenario, seed: int) -> Drawn:
    """The requests of a seed."""
    return drawn(scenario.stream, askers(scenario, seed), seed)


def plans(scenario: Scenario, others: Sequence[ReleaseSpec]) -> list[ReleaseSpec]:
    """The scenario's own release plan and others, each once."""
    return list({plan.model_dump_json(): plan for plan in (scenario.stream.release, *others)}.values())


def without_population(scenario: Scenario) -> Scenario:
    """The scenario as its data and base model are opened: all of the data's clients join."""
    update = {"population": None, "unseen": 0, "join": scenario.data.clients}
    return scenario.model_copy(update={"stream": scenario.stream.model_copy(update=update)})
