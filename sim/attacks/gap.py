"""The gap to retraining, as papers on unlearning in classifiers report it (``audit: gap``): after the stream, every client's
served model is shown the examples that it is trained on and those that are reported, and the answers are pooled over all.

    retained, forgotten, test   accuracy on training examples of members, on those of the forgotten, and on the reported
                                examples (``data.test``) of all clients; where settings are chosen on those of half of the
                                clients, of the other half. Where answers are free text, their mean probability
    mia                         share of the forgotten training examples that an attack takes for non-members: ``membership``
    auc                         the same question without a threshold: confidence of forgotten against test examples
    gap                         mean over retained, forgotten, test and mia of |this strategy − retrained|

Retrained is the run's first strategy that is ``registry.RETRAINED``. All this follows from what is served and from who is a
member alone, so an exact strategy shows the numbers of a system that never had the forgotten. It is no part of any
strategy's price.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from clients.data.manifest import Manifest
from clients.errors import InputError
from clients.jobs import probe_job
from clients.work.probing import PARTS
from sim.attacks import membership
from sim.life.evaluation import not_finite, replies_of, splits
from sim.life.life import Life
from sim.scenario.model import Scenario
from sim.terminal import phase
from sim.workers.workers import Workers
from strategies.registry import RETRAINED
from strategies.scale import CLIENTS_PER_JOB
from strategies.state.kept import chooses

COMPARED = ("retained", "forgotten", "test", "mia")

Measures = dict[str, float | None]
NOTHING: Measures = dict.fromkeys((*COMPARED, "auc"))
"""Of a strategy that failed."""
Probed = dict[str, np.ndarray]


@dataclass(frozen=True)
class Pooled:
    """Outcomes (``clients.work.probing``) of all examples of a split, fp64 [2, examples]."""

    retained: np.ndarray
    forgotten: np.ndarray
    test: np.ndarray


def check(manifest: Manifest, scenario: Scenario) -> None:
    """InputError if the gap is asked for and there are no test examples."""
    if "gap" in scenario.audit and manifest.sides.reported == "train":
        raise InputError("audit: gap needs test examples, and no client has any; data.test has to be larger")


def measured(life: Life, workers: Workers) -> None:
    """The measures of every strategy as it stands, into the record and the ledger."""
    system, mine = life.system, life.record
    jobs = len(system.strategies) * math.ceil((len(mine["joined"]) + len(system.population.unseen)) / CLIENTS_PER_JOB)
    with phase("measuring the gap to retraining", jobs) as done:
        pooled = {label: _pooled(life, label, life.remembering(workers), done) for label in system.strategies}
    reference = next(spec.label for spec in system.scenario.strategies if spec.strategy == RETRAINED)
    found = {label: NOTHING if each is None else measures(each, system.seed) for label, each in pooled.items()}
    found = {label: each | {"gap": gap(each, found[reference])} for label, each in found.items()}
    life.tell("gap", reference=reference, strategies=found)
    mine["unlearning"] = found
    mine["proved"].append("gap")
    life.commit()


def measures(pooled: Pooled, seed: int) -> Measures:
    """Everything but the gap; None where a split has no examples."""
    (retained, _), (forgotten, _), (test, _) = pooled.retained, pooled.forgotten, pooled.test
    return {
        **{split: _mean(getattr(pooled, split)[1]) for split in ("retained", "forgotten", "test")},
        "mia": membership.efficacy(retained, test, forgotten, seed),
        "auc": membership.auc(forgotten, test),
    }


def gap(mine: Measures, retrained: Measures) -> float | None:
    """Mean absolute difference over ``COMPARED``; None where one of them has no value."""
    pairs = [(mine[key], retrained[key]) for key in COMPARED]
    differences = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    return math.fsum(differences) / len(COMPARED) if len(differences) == len(COMPARED) else None


def _pooled(life: Life, label: str, workers: Workers, done: Callable[[], None]) -> Pooled | None:
    """Outcomes under what a strategy serves; a client who was never a member gives test examples alone, and one whose data
    are gone nothing. None where the strategy fails, or has before."""
    if life.system.strategies[label].failed:
        return None
    split, gone = splits(life.system, life.record, label), set(life.system.manifest.gone)
    clients = [client for client in split if client not in gone]
    found: dict[str, Probed] = {part: {} for part in PARTS}
    for reply in replies_of(life.system, label, clients, probe_job, workers, done):
        for client in reply.clients:
            for part in PARTS:
                found[part][client] = reply.arrays[f"{part}/{client}"]
    probed = {client: [found[part][client] for part in PARTS] for client in clients}
    if wrong := [client for client, mine in probed.items() if not all(np.isfinite(each).all() for each in mine)]:
        life.fail({label: not_finite("answer", wrong)})
        return None
    stayed, left = ([client for client in clients if split[client] == which] for which in ("held_in", "forgotten"))
    tested = [client for client in clients if not (life.system.manifest.sides.halved and chooses(client, life.system.seed))]
    return Pooled(_joined(found["train"], stayed), _joined(found["train"], left), _joined(found["reported"], tested))


def _joined(probed: Probed, clients: Iterable[str]) -> np.ndarray:
    return np.concatenate([np.empty((2, 0)), *(probed[client] for client in clients)], axis=1)


def _mean(values: np.ndarray) -> float | None:
    return math.fsum(values) / len(values) if len(values) else None
