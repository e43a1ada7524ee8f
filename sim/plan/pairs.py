"""What the server takes for a pair of clients, where it keeps something of all pairs; measured before a scenario runs."""

import tempfile
import time
from collections.abc import Container, Sequence
from pathlib import Path

from clients.jobs import Reply
from clients.work.contributions import SUM
from clients.work.site import Site
from sim.life.system import bounds_of, grid_of
from strategies.state.kept import Kept
from strategies.state.part import Part
from strategies.state.store import Folder

JOINING = 32
"""How many clients join at most in each half of what tells the time of a pair."""
JOINING_BYTES = 1 << 28
"""Bytes of the vectors in both halves, from which fewer join."""


def pairs(clients: int) -> float:
    """Pairs of so many clients, each with itself too."""
    return clients * (clients + 1) / 2


def pair_seconds(site: Site, rule: str, parts: Sequence[Part], reply: Reply, cohort: int) -> float:
    """Seconds of the server for a pair, of which it keeps these parts: clients join who are all alike, a cohort at a time.

    What each takes by itself is the same in the first half, of n clients, and in the second, which has n² pairs more.
    """
    if not parts:
        return 0.0
    (client,) = reply.clients
    bounds = bounds_of(site, rule)
    few = max(4, min(JOINING, JOINING_BYTES // (8 * bounds[-1])))
    cohort = min(cohort, few)
    half = few - few % cohort
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = Kept(folder, rule, bounds, parts, site.settings.seed, Folder(folder), grid=grid_of(site, rule))
        wanted, times = {each.key for each in kept.wants()}, [time.process_time()]
        for first in (0, half):
            for start in range(first, first + half, cohort):
                names = [str(number) for number in range(start, start + cohort)]
                kept.absorb(_called(reply, client, names, wanted))
            times.append(time.process_time())
    begun, between, ended = times
    return max(0.0, (ended - between) - (between - begun)) / half**2


def _called(reply: Reply, client: str, names: Sequence[str], wanted: Container[str]) -> Reply:
    """The same, of clients of other names, with the arrays that are wanted."""
    sent = {key.partition("/")[0]: array for key, array in reply.arrays.items() if key != SUM.key}
    arrays = {f"{key}/{name}": array for name in names for key, array in sent.items() if key in wanted}
    tunings = dict.fromkeys(names, reply.facts["tunings"][client])
    return Reply(tuple(names), reply.facts | {"tunings": tunings}, arrays)
