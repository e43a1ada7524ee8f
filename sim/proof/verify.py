"""Verifying a finished run in a fresh process: saved state, ledger, erasure, and a rebuild from the retained clients."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sim.life.saved import open_run, open_system
from sim.life.system import System
from sim.proof import audit
from sim.scenario.model import Scenario
from sim.workers.opening import open_workers


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


def verify(run: Path) -> tuple[list[Finding], list[str]]:
    """Findings for every strategy and seed, and the traces of forgotten clients that are still in the run folder.

    Raises:
        InputError: not a finished run, or its ledger, scenario or state files are damaged.
    """
    scenario, _, records = open_run(run)
    findings: list[Finding] = []
    traces: list[str] = []
    for record in records:
        system = open_system(run, scenario, record)
        traces += remains(system, record["forgotten"])
        findings += _rebuilt(scenario, system, record["state_digest"])
    return findings, traces


def _rebuilt(scenario: Scenario, system: System, state: dict[str, str]) -> list[Finding]:
    """Findings on a state that ``open_system`` has just checked against its files."""
    with open_workers(scenario.workers, scenario.workers.stream, system.settings) as workers:
        rebuilt = audit.rebuild(system, workers)
    return [
        Finding(system.seed, label, strategy.exactness, state[label], rebuilt[label])
        for label, strategy in system.strategies.items()
    ]


def remains(system: System, forgotten: list[str]) -> list[str]:
    """Files and entries of forgotten clients that are still in the state folder; there should be none."""
    names = {quote(client, safe="") for client in forgotten}
    folders = [kept.folder / "clients" for kept in system.kept.values()]
    folders += [strategy.folder / "clients" for strategy in system.strategies.values()]
    paths = sorted(path for folder in folders for path in folder.rglob("*"))
    files = [str(path) for path in paths if path.is_file() and path.name.rpartition(".")[0] in names]
    entries = [
        f"{kept.folder / 'members.json'}: {client}"
        for kept in system.kept.values()
        for client in forgotten
        if client in kept.members
    ]
    return files + entries
