"""Clients who join after the others: newcomers, and those who come back after they were forgotten."""

from collections.abc import Sequence

from sim.life.learning import Costs, Listener, learn
from sim.life.system import Rule, System
from sim.workers.workers import Workers


def welcome(system: System, client: str) -> None:
    """Write down which examples are a client's: all that the workers know of it.

    Raises:
        InputError: nothing of it is in the source, or not all that is written down.
    """
    system.refs.pop(client, None)
    system.population = system.population.holding(system.data().shard(client))


def join(system: System, rule: Rule, newcomers: Sequence[str], workers: Workers, listener: Listener) -> Costs:
    """Tune newcomers under one rule and fold them in; the price by strategy label.

    A strategy that ``rejoins`` keeps something of all pairs of clients: everybody's vector is derived again for it, at its
    price. The others pay for the newcomers alone.
    """
    there = sorted(system.kept[rule].members)
    again = [label for label in system.labels(rule) if system.rejoins(label)] if there else []
    if again:
        system.fresh(rule)
    costs = learn(system, {rule: newcomers}, workers, listener=listener)
    if again:
        rest = learn(system, {rule: there}, workers)
        costs = {label: cost.then(rest[label]) if label in again else cost for label, cost in costs.items()}
    return costs
