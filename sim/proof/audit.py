"""The bitwise audit: the state computed again from the retained clients only must have the same digests.

Approximate strategies are rebuilt as well: that their digests differ once somebody has left is reported, not a failure.
"""

from collections.abc import Callable

from sim.life.learning import Listener, every, learn, localize
from sim.life.life import Life
from sim.life.system import System, build
from sim.terminal import phase
from sim.workers.workers import Workers
from strategies.state.store import Store

FOLDER = "audit"
"""Where a rebuild lies until it is done, in a state folder."""


def rebuild(
    system: System, store: Store, tuning: Workers, others: Workers, kept: Callable[[], None] = lambda: None
) -> dict[str, str]:
    """State digests of a system that never met the forgotten clients, by strategy label.

    Everything is done again: tuning, folding, choosing and mask learning. Nothing is read from the run but the
    scenario, the population and who is retained.

    Args:
        store: for the rebuilt state; it may hold a part of it already.
        tuning, others: who carries out jobs while clients are tuned, and afterwards.
        kept: makes what is in the store last.
    """
    assert system.settings.population is not None
    retained = {rule: sorted(mine.members) for rule, mine in system.kept.items()}
    tunings = sum(len(clients) for rule, clients in retained.items() if rule is not None)
    with phase(f"audit: rebuilding seed {system.seed} without the forgotten", tunings) as done:
        fresh = build(system.scenario, system.seed, store, system.settings.population, load=bool(store.sizes()))
        fresh.population, fresh.refs = system.population, system.refs

        def save() -> None:
            fresh.save()
            kept()

        pause = every(system.scenario.workers.checkpoint_seconds, save)
        learn(fresh, retained, tuning, listener=Listener(joined=lambda *_: done(), pause=pause))
        save()
        localize(fresh, others)
        fresh.save()
        return fresh.digests()


def audited(life: Life, workers: Workers) -> None:
    """Digests of the state rebuilt from the retained clients only, recorded in the ledger beside those of the state."""
    system, store = life.system, life.journal.at(FOLDER)
    life.tell_repeated()
    rebuilt = rebuild(system, store, life.remembering(workers, whole=False), life.remembering(workers), life.commit)
    for name in store.sizes():
        store.erase(name)
    state = life.record["state_digest"]
    life.tell("audit", rebuilt_digest=rebuilt, bitwise_equal={label: state[label] == rebuilt[label] for label in state})
    life.record["rebuilt_digest"] = rebuilt
    life.record["proved"].append("bitwise")
    life.commit()
