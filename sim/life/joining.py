"""Clients who join after the others: newcomers, and those who come back after they were forgotten."""

from collections.abc import Sequence

from sim.life.learning import Costs, Listener, learn, learn_beside
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
    """Tune newcomers under one rule and fold them in, with everybody else where a strategy needs that; price by label."""
    there = sorted(system.kept[rule].members)
    if there and any(map(system.rejoins, system.labels(rule))):
        return learn_beside(system, rule, newcomers, there, workers, listener)
    return learn(system, {rule: newcomers}, workers, listener=listener)
