"""The life of one seed: its system, its files, and what it has come to; everything that happens ends with a commit."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.data import loaders
from clients.data.dataset import written
from clients.data.population import Population
from clients.data.source import ShardRef
from clients.errors import InputError
from clients.work.site import HERE, open_site
from sim.life import record as records
from sim.life.cost import Cost
from sim.life.journal import Journal
from sim.life.learning import Costs
from sim.life.ledger import START, Ledger
from sim.life.record import POPULATION, PROGRESS, ROWS, Record
from sim.life.replies import Remembering, Replies
from sim.life.system import System, as_json, build
from sim.scenario.model import Scenario
from sim.stream import requests as stream
from sim.stream.requests import JOIN, Batch, Request, batches
from sim.terminal import errors, say
from sim.workers.workers import Workers


@dataclass
class Life:
    """One seed of a run.

    Attributes:
        record: what it has come to, as JSON: see ``sim.life.record``.
        rows: of evaluations, in long form.
        batches: the stream, release by release.
        commands: requests that came by command, since the run was opened or before, and are to be carried out once.
        released: what the last release has cost.
        follow: is called after every commit.
    """

    system: System
    journal: Journal
    ledger: Ledger
    record: Record
    rows: list[dict[str, Any]]
    batches: list[Batch]
    commands: Sequence[Request] = ()
    released: Costs = field(default_factory=dict)
    follow: Callable[["Life"], None] = field(default=lambda _: None, repr=False)
    _replies: Replies = field(init=False)
    _since: float = field(init=False, default_factory=time.perf_counter)
    _population: Population | None = field(init=False, default=None)
    _rows: int = field(init=False, default=-1)

    def __post_init__(self) -> None:
        self._replies = Replies(self.journal.folder, self._last_commit)

    @property
    def present(self) -> set[str]:
        """Members under any rule."""
        return {client for kept in self.system.kept.values() for client in kept.members}

    def tell(self, event: str, **facts: Any) -> None:
        """Add a line to the ledger; it is written with the next commit."""
        self.ledger.append(event, seed=self.system.seed, **facts)

    def commit(self) -> None:
        """Make everything since the last commit happen, as a whole."""
        now = time.perf_counter()
        self.record["seconds"] += now - self._since
        self._since = now
        self.journal.write(PROGRESS, as_json(self.record))
        if self.system.population is not self._population:
            self.journal.write(POPULATION, self.system.population.model_dump_json(indent=1).encode())
        if len(self.rows) != self._rows:  # they are only ever added to
            self.journal.write(ROWS, records.rows_as_bytes(self.rows))
        self.journal.commit()
        self._population, self._rows = self.system.population, len(self.rows)
        self._replies.begin(self._last_commit)
        self.follow(self)

    def remembering(self, workers: Workers, whole: bool = True) -> Workers:
        """The workers, as one who goes on after a kill uses them.

        Args:
            whole: whether replies are written down; not where the state is committed every so often.
        """
        return Remembering(workers, self._replies, self.system.refs, whole)

    def tell_repeated(self) -> None:
        """Say in the ledger what was done since the last commit by a process that was killed, and is done again."""
        if self._replies.repeated != Cost():
            self.tell("repeated", **self._replies.repeated.as_facts())

    def fail(self, failures: Mapping[str, str]) -> None:
        """Say at once, and write down, which strategies failed and why; the others go on."""
        for label, reason in failures.items():
            errors.print(f"{label} failed: {reason}; the others go on.", highlight=False, markup=False, soft_wrap=True)
            self.tell("not_finite", strategy=label, reason=reason)
            self.record["failed"].setdefault(label, reason)

    def cost(self, phase: str, costs: Mapping[str, Cost]) -> None:
        """Charge strategies for a phase of the record: learn, forget or join."""
        mine = self.record[phase]
        for label, cost in costs.items():
            mine[label] = records.facts(Cost(**mine[label]).then(cost))

    @property
    def _last_commit(self) -> str:
        return str(self.ledger.commits.get(self.system.seed, {}).get("hash", START))


def open_life(
    run: Path, scenario: Scenario, seed: int, ledger: Ledger, commands: Sequence[Request] = (), checked: bool = True
) -> Life:
    """The life of a seed as the last commit left it; of one that has not begun, its population is written down.

    Args:
        commands: all that were ever asked of the run by command.
        checked: whether state and record are compared with the ledger now.

    Raises:
        InputError: data or model do not fit, or saved state is missing or damaged.
    """
    journal = Journal(run / "state" / str(seed), ledger, seed)
    if not journal.has(PROGRESS):
        return _begin(journal, scenario, seed, ledger, commands)
    record: Record = records.BEFORE | records.read(journal, PROGRESS)
    population = Population.model_validate(records.read(journal, POPULATION))
    told = record["asked"]
    asked = stream.draw(scenario.stream, population, seed) if told is None else [Request(*each) for each in told]
    planned = batches(scenario.stream, asked)
    coming = [request for batch in planned[record["played"] :] for request in batch.requests]
    coming += commands[record["commands"] :]
    back = {*record["forgotten"], *(request.client for request in coming if request.kind == JOIN)}
    known, refs = _known(scenario, seed, population, back)
    system = build(scenario, seed, journal, known, load=True)
    system.population = population
    system.refs.update(refs)
    if checked:
        records.check(journal, system, record, ledger)
    return Life(system, journal, ledger, record, records.read_rows(journal), planned, commands)


def _begin(journal: Journal, scenario: Scenario, seed: int, ledger: Ledger, commands: Sequence[Request]) -> Life:
    population = first_population(scenario, seed)
    system = build(scenario, seed, journal, population)
    asked = stream.draw(scenario.stream, population, seed, HERE.dataset(scenario.data, seed).shards)
    told = open_site(system.settings).told
    for line in told:
        say(line)
    record = records.new(system, told, asked)
    life = Life(system, journal, ledger, record, [], batches(scenario.stream, asked), commands)
    system.save()
    life.tell("population", clients=len(population.clients), digest=population.digest)
    life.commit()
    return life


def first_population(scenario: Scenario, seed: int) -> Population:
    """Who may ever take part, and who joins at first, as the data have it now."""
    dataset = HERE.dataset(scenario.data, seed)
    clients = dataset.manifest.clients
    joining, unseen = stream.population(scenario.stream, clients, seed)
    population = written(dataset).model_copy(update={"joining": joining, "unseen": unseen})
    HERE.adopt(scenario.data, seed, population, dataset)
    return population


def _known(
    scenario: Scenario, seed: int, population: Population, clients: set[str]
) -> tuple[Population, dict[str, ShardRef]]:
    """The population as the workers know it: with all that the source has of clients who are forgotten, whose scores are
    measured as long as their data are there, and of those who are going to join. Where one of these has less until then, its
    name stands for what it has."""
    known, refs = population, dict[str, ShardRef]()
    back = loaders.returning(scenario.data, seed, population)
    for client in sorted(clients & set(population.clients)):
        try:
            shard = back(client)
        except InputError:  # told when its turn comes
            continue
        known = known.holding(shard)
        if (mine := population.examples.get(client)) is not None:
            without = {e.key for e in shard.examples} - set(mine.all)
            refs |= {client: ShardRef(client=client, without=frozenset(without))} if without else {}
    return known, refs
