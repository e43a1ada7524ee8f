"""Workers who look into a store of parts first, client by client, and put into it what they had to do.

A cohort's reply is made of its clients' as ``clients.jobs`` would have made it: sums are of integers, so the bits are the
same, and so is every count and byte that is charged. The seconds are those that each client took when its part was made.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from clients import outside
from clients.exact.exact_sum import ExactSum
from clients.jobs import Job, Reply, measured_facts, served_in, tuned_facts
from clients.work.contributions import SUM, Wanted
from clients.work.rules import rule_of
from clients.work.site import Site, open_site
from sim.life.life import Life
from sim.run import Phase
from sim.study.parts import Arrays, Part, Parts, score_key, tuning_key, world
from sim.workers.workers import Workers

SHARED = "shared"
"""The ledger's event."""


@dataclass
class Cohort:
    """A job of which some clients' parts are there already, and others are being made.

    Attributes:
        keys: by client.
        missing: whose parts are not here yet.
        made: those that were made for it.
        error: of the first client who failed.
    """

    index: int
    job: Job
    keys: dict[str, str]
    missing: set[str]
    made: dict[str, Part] = field(default_factory=dict)
    error: str | None = None


class Sharing:
    """See the module.

    Attributes:
        deletions: whether vectors that a request takes may come from the store, where learning has put them.
        found, asked: parts that came from the store, and how many were asked for.
    """

    def __init__(self, workers: Workers, parts: Parts, site: Site, phase: Phase, deletions: bool) -> None:
        self.workers, self.parts, self.site, self.phase = workers, parts, site, phase
        self.deletions = deletions
        self.found = self.asked = 0

    @cached_property
    def _world(self) -> str:
        return world(self.site)

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        """See ``Workers.run``."""
        ready, later = deque[Cohort](), list[Cohort]()
        sent: list[tuple[Cohort | int, str]] = []

        def asked() -> Iterator[Job]:
            for index, job in enumerate(jobs):
                if not self._shares(job):
                    sent.append((index, ""))
                    yield job
                    continue
                cohort = self._cohort(index, job)
                for client in sorted(cohort.missing, key=job.clients.index):
                    if self.parts.locks.take(cohort.keys[client]):
                        if self._has(cohort, client):  # made by another process between the two looks
                            self.parts.locks.leave(cohort.keys[client])
                            cohort.missing.discard(client)
                            continue
                        sent.append((cohort, client))
                        yield alone(job, client)
                if not cohort.missing:
                    ready.append(cohort)
                else:
                    later.append(cohort)

        try:
            for number, reply in self.workers.run(asked(), shared):
                owner, client = sent[number]
                if isinstance(owner, int):
                    yield owner, reply
                else:
                    self._take(owner, client, reply)
                    if not owner.missing and owner in later:
                        later.remove(owner)
                        ready.append(owner)
                while ready:
                    yield self._reply(ready.popleft())
            for cohort in (*ready, *later):
                yield self._reply(cohort)
        finally:
            for owner, client in sent:
                if isinstance(owner, Cohort):
                    self.parts.locks.leave(owner.keys[client])

    def _shares(self, job: Job) -> bool:
        """Whether a job's reply is a function of single clients and the base model, and the job says it all."""
        if job.refs or job.shared or len(set(job.clients)) < len(job.clients):
            return False
        if job.kind == "score":
            return True
        wants = [what for what, _ in job.facts.get("wants", ())]
        here = self.deletions or self.phase != "stream"
        return job.kind == "tune" and here and not any(map(outside.is_outside, [job.facts["rule"], *wants]))

    def _cohort(self, index: int, job: Job) -> Cohort:
        keys = {client: self._key(job, client) for client in job.clients}
        cohort = Cohort(index, job, keys, set())
        cohort.missing = {client for client in job.clients if not self._has(cohort, client)}
        self.asked += len(keys)
        self.found += len(keys) - len(cohort.missing)
        return cohort

    def _key(self, job: Job, client: str) -> str:
        if job.kind == "tune":
            phase = "learning" if self.phase == "stream" else self.phase
            return tuning_key(self.site, self._world, client, job.facts["rule"], phase)
        single = alone(job, client)
        where = [job.facts["part"], self.phase]
        return score_key(self.site, self._world, client, single.facts["items"][0], single.arrays, where)

    def _has(self, cohort: Cohort, client: str) -> bool:
        return self.parts.has(cohort.keys[client], names(cohort.job))

    def _take(self, cohort: Cohort, client: str, reply: Reply) -> None:
        """Keep what a client's reply says."""
        key = cohort.keys[client]
        if reply.error is None:
            part = part_of(cohort.job, client, reply)
            self.parts.add(key, part)
            cohort.made[client] = part
        else:
            cohort.error = cohort.error or reply.error
        cohort.missing.discard(client)
        self.parts.locks.leave(key)

    def _reply(self, cohort: Cohort) -> tuple[int, Reply]:
        """The whole job's reply; whatever is still missing, or was erased meanwhile, is made now or waited for."""
        parts: dict[str, Part] = {}
        for client, key in cohort.keys.items():
            part = cohort.made.get(client)
            if part is None and cohort.error is None:
                part = self.parts.find(key, names(cohort.job)) or self._made(cohort, client)
            if cohort.error is not None or part is None:
                return cohort.index, Reply(cohort.job.clients, error=cohort.error)
            parts[client] = part
        return cohort.index, together(self.site, cohort.job, parts)

    def _made(self, cohort: Cohort, client: str) -> Part | None:
        """The part of a client that another process was making, or that has to be made once more."""
        key = cohort.keys[client]
        self.parts.locks.take(key, wait=True)
        try:
            if (found := self.parts.find(key, names(cohort.job))) is not None:
                self.found += 1
                return found
            for _, reply in self.workers.run([alone(cohort.job, client)], {}):
                self._take(cohort, client, reply)
            return cohort.made.get(client)
        finally:
            self.parts.locks.leave(key)


@contextmanager
def sharing(parts: Parts, phase: Phase, workers: Workers, life: Life) -> Iterator[Workers]:
    """Workers who share parts in a phase of a run; its ledger says how many came from the store."""
    deletions = life.system.scenario.workers.share_deletions
    through = Sharing(workers, parts, open_site(life.system.settings), phase, deletions)
    yield through
    if through.found:
        life.tell(SHARED, phase=phase, parts=through.found, of=through.asked)
        life.commit()


def names(job: Job) -> list[str]:
    """Names of the arrays of a client's part that a job needs."""
    if job.kind == "score":
        return ["scores"]
    return [Wanted(what=what, value=value).key for what, value in job.facts["wants"]]


def alone(job: Job, client: str) -> Job:
    """The same job for one of its clients."""
    if job.kind == "tune":
        return replace(job, clients=(client,))
    place = str(job.clients.index(client))
    arrays = {f"0/{name.partition('/')[2]}": array for name, array in job.arrays.items() if name.partition("/")[0] == place}
    return replace(job, clients=(client,), facts=job.facts | {"items": [job.facts["items"][int(place)]]}, arrays=arrays)


def part_of(job: Job, client: str, reply: Reply) -> Part:
    """What is kept of one client's reply."""
    facts = {"seconds": reply.facts["seconds"]}
    if job.kind == "score":
        values = [None if value is None else float(value) for value in reply.facts["scores"][0]]
        return Part(facts | {"values": values}, {"scores": np.zeros(0, dtype=np.uint8)})
    arrays = {name.partition("/")[0]: array for name, array in reply.arrays.items()}
    if SUM.key in arrays:
        arrays[SUM.key] = arrays[SUM.key].astype(smallest(arrays[SUM.key]))
    return Part(facts | {"tuning": reply.facts["tunings"][client], "parameters": reply.facts["parameters"]}, arrays)


def smallest(values: np.ndarray) -> np.dtype[Any]:
    """The smallest signed type that holds these whole numbers."""
    least, most = int(values.min(initial=0)), int(values.max(initial=0))
    return np.promote_types(np.min_scalar_type(min(least, -1)), np.min_scalar_type(-most - 1))


def together(site: Site, job: Job, parts: Mapping[str, Part]) -> Reply:
    """The reply to a job that these are the parts of, as a worker would have given it."""
    seconds = {"seconds": sum(float(part.facts["seconds"]) for part in parts.values())}
    if job.kind == "score":
        scores = {"scores": [parts[client].facts["values"] for client in job.clients]}
        return Reply(job.clients, scores | measured_facts(served_in(job)) | seconds)
    wants = [Wanted(what=what, value=value) for what, value in job.facts["wants"]]
    grid = rule_of(job.facts["rule"]).grid(site)
    size = next(iter(parts.values())).facts["parameters"]
    arrays: Arrays = {}
    partial = ExactSum(size, grid)
    for client in job.clients:
        arrays |= {f"{each.key}/{client}": parts[client].arrays[each.key] for each in wants if each != SUM}
        if SUM in wants:
            partial.merge(parts[client].arrays[SUM.key].astype(grid.dtype), 1)
    if SUM in wants:
        arrays[SUM.key] = partial.total
    tunings = {client: parts[client].facts["tuning"] for client in job.clients}
    return Reply(job.clients, tuned_facts(tunings, size) | seconds, arrays)
