"""The bitwise audit: the state computed again from the retained clients only must have the same digests.

Approximate strategies are rebuilt as well: that their digests differ once somebody has left is reported, not a failure.
"""

import tempfile
from pathlib import Path

from sim.life.learning import learn, localize
from sim.life.ledger import Ledger
from sim.life.system import System, build
from sim.terminal import phase
from sim.workers.workers import Workers


def rebuild(system: System, workers: Workers) -> dict[str, str]:
    """State digests of a system that never met the forgotten clients, by strategy label.

    Everything is done again: tuning, folding, choosing and mask learning. Nothing is read from the run but the
    scenario and who is retained.
    """
    retained = {rule: sorted(kept.members) for rule, kept in system.kept.items()}
    tunings = sum(len(clients) for rule, clients in retained.items() if rule is not None)
    title = f"audit: rebuilding seed {system.seed} without the forgotten"
    with tempfile.TemporaryDirectory(prefix="unmerge-audit-") as scratch, phase(title, tunings) as done:
        fresh = build(system.scenario, system.seed, Path(scratch))
        learn(fresh, retained, workers, done=done)
        localize(fresh, workers)
        fresh.save()
        return fresh.digests()


def audited(system: System, state: dict[str, str], workers: Workers, ledger: Ledger) -> dict[str, str]:
    """Digests of the state rebuilt from the retained clients only, recorded in the ledger beside those of the state."""
    rebuilt = rebuild(system, workers)
    equal = {label: state[label] == rebuilt[label] for label in state}
    ledger.append("audit", seed=system.seed, rebuilt_digest=rebuilt, bitwise_equal=equal)
    return rebuilt
