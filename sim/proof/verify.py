"""Verifying a finished run in a fresh process: saved state, ledger, erasure, and a rebuild from the retained clients."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sim.life import record as records
from sim.life.life import Life, open_life
from sim.life.lock import locked
from sim.life.replies import Remembering, Replies
from sim.life.saved import finished_run
from sim.proof import audit
from sim.workers.opening import open_workers
from strategies.state.store import Folder


@dataclass(frozen=True)
class Finding:
    """One strategy of one seed: the digest that was served and the one rebuilt without the forgotten clients."""

    seed: int
    label: str
    exactness: str
    state: str
    rebuilt: str

    @property
    def equal(self) -> bool:
        return self.state == self.rebuilt


def verify(run: Path, overrides: Sequence[str] = ()) -> tuple[list[Finding], list[str]]:
    """Findings for every strategy and seed, and the traces of forgotten clients that are still in the run folder.

    Where there are traces, nothing is rebuilt, as what is there is not what was proved.

    Raises:
        InputError: not a finished run, or its ledger, scenario or state files are damaged.
    """
    findings: list[Finding] = []
    traces: list[str] = []
    with locked(run):
        opened = finished_run(run, overrides)
        lives = [
            open_life(run, opened.scenario, seed, opened.ledger, opened.commands, checked=False)
            for seed in opened.scenario.seeds
        ]
        for life in lives:
            traces += remains(life)
        for life in lives if not traces else ():
            records.check(life.journal, life.system, life.record, life.ledger)
            findings += _rebuilt(life)
    return findings, traces


def _rebuilt(life: Life) -> list[Finding]:
    """Findings on a state that was just checked against its files."""
    system, state = life.system, life.record["state_digest"]
    spec = system.scenario.workers
    with (
        open_workers(spec, spec.stream, system.settings) as opened,
        tempfile.TemporaryDirectory(prefix="unmerge-") as scratch,
    ):
        workers = Remembering(opened, Replies(Path(scratch), ""), system.refs, whole=False)
        rebuilt = audit.rebuild(system, Folder(Path(scratch) / "state"), workers, workers)
    return [
        Finding(system.seed, label, strategy.exactness, state[label], rebuilt[label])
        for label, strategy in system.strategies.items()
    ]


def remains(life: Life) -> list[str]:
    """Files and entries of forgotten clients that are still in the state folder; there should be none."""
    system, forgotten = life.system, life.record["forgotten"]
    owners = [(kept.store, kept.files_of) for kept in system.kept.values()]
    owners += [(strategy.store, strategy.files_of) for strategy in system.strategies.values()]
    files = []
    for store, files_of in owners:
        own = {PurePosixPath(name).stem for client in forgotten for name in files_of(client)}
        files += [str(store.path(name)) for name in store.sizes() if PurePosixPath(name).stem in own]
    entries = [
        f"{kept.store.path('members.json')}: {client}"
        for kept in system.kept.values()
        for client in forgotten
        if client in kept.members
    ]
    population = life.journal.path(records.POPULATION)
    examples = [f"{population}: {client}" for client in forgotten if client in system.population.examples]
    return files + entries + examples
