"""Playing one seed: every client joins, the first release, and the stream of requests."""

from dataclasses import dataclass, field
from typing import Any

from sim.life import summary
from sim.life.cost import Cost
from sim.life.deletion import carry_out
from sim.life.evaluation import evaluate
from sim.life.learning import Costs, learn, localize, published
from sim.life.ledger import Ledger
from sim.life.system import System
from sim.stream import requests as stream
from sim.terminal import phase
from sim.workers.workers import Workers


@dataclass
class Played:
    """What a stream has come to.

    Attributes:
        costs: of the deletions, by strategy.
        curve: points of the curves, JSON.
        rows: of evaluations, in long form.
        forgotten: clients, in the order in which they were forgotten.
        retrain_steps: gradient steps that training all retained clients again at each release would have cost.
    """

    costs: Costs
    curve: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    retrain_steps: int = 0


def tune_all(system: System, workers: Workers, ledger: Ledger) -> Costs:
    """Every client joins under every rule; the price by strategy."""
    clients = system.joining
    rules = [rule for rule in system.kept if rule is not None]
    with phase("clients tune the base model", len(clients) * len(rules)) as done:
        return learn(system, dict.fromkeys(system.kept, clients), workers, ledger, done)


def first_release(system: System, learned: Costs, workers: Workers, ledger: Ledger) -> Costs:
    """Scales and masks are chosen, and the state is saved; the price of learning with that of this."""
    with phase("strategies choose scales and learn masks") as done:
        costs = {label: learned[label].then(cost) for label, cost in localize(system, workers, done).items()}
    system.save()
    ledger.append("learned", seed=system.seed, strategies=published(system, costs))
    return costs


def play_stream(system: System, workers: Workers, ledger: Ledger) -> Played:
    """Carry out all requests, release by release, and evaluate where the scenario says."""
    spec, steps = system.scenario.stream, system.scenario.tuning.steps
    requests = stream.draw(spec, system.joining, system.seed)
    played = Played({label: Cost() for label in system.strategies})
    with phase("evaluating what is served") as done:
        _tell(played, system, evaluate(system, played.forgotten, workers, done))
    with phase("deletion requests", len(requests)) as done:
        for batch in stream.releases(requests, spec.release.every):
            for label, cost in carry_out(system, batch, workers, ledger).items():
                played.costs[label] = played.costs[label].then(cost)
            played.forgotten += [request.client for request in batch]
            played.retrain_steps += steps * (len(system.joining) - len(played.forgotten))
            for _ in batch:
                done()
            if len(played.forgotten) in (spec.evaluate_after or ()):
                _tell(played, system, evaluate(system, played.forgotten, workers))
    return played


def _tell(played: Played, system: System, rows: list[dict[str, Any]]) -> None:
    played.rows += rows
    played.curve.append(summary.point(rows, played.costs, system.storage(), played.retrain_steps))
