"""The few sizes that prices follow from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from clients.exact.grid import FINE, Grid
from clients.work.site import Site
from sim.life.system import Rule, bounds_of, grid_of, strategies_of
from sim.plan import machine
from sim.scenario.model import Scenario
from sim.stream import requests as stream
from strategies.state.layout import Layout

Members = tuple[str, ...]


@dataclass(frozen=True)
class Sizes:
    """What prices follow from.

    Attributes:
        clients: the names of those who join; random clusters and the order of requests follow from them.
        parameters, tunable, tensors: of the base model: all of them, those that are tuned, and in how many tensors.
        features: width of a client's mean feature.
        process: bytes of memory of a process that has opened data and base model.
        halved: whether settings are chosen on half of the members.
        rules: for each rule whose vectors are no task vectors, where their tensors start, then the end.
        grids: for each rule the grid that its vectors are summed on.
    """

    clients: Members
    parameters: int
    tunable: int
    tensors: int
    features: int = 0
    process: int = 0
    halved: bool = False
    rules: Mapping[Rule, tuple[int, ...]] = field(default_factory=dict)
    grids: Mapping[Rule, Grid] = field(default_factory=dict)

    def layout(self, rule: Rule, seed: int) -> Layout:
        """The sizes of what is kept under a rule."""
        grid = self.grids.get(rule, FINE)
        if (bounds := self.rules.get(rule)) is not None:
            return Layout(bounds[-1], len(bounds) - 1, seed, self.features, grid)
        return Layout(self.tunable, self.tensors, seed, self.features, grid)


def sizes_of(site: Site, scenario: Scenario) -> Sizes:
    """Sizes of an open site whose clients join as the scenario says."""
    layout, seed = site.model.layout, site.settings.seed
    clients = stream.population(scenario.stream, site.manifest.clients, seed)[0]
    bounds = {strategy.rule: bounds_of(site, strategy.rule) for strategy in strategies_of(scenario, seed).values()}
    rules = {rule: each for rule, each in bounds.items() if each != layout.bounds}
    return Sizes(
        clients,
        site.model.parameters,
        layout.size,
        len(layout.names),
        process=machine.held(),
        halved=site.manifest.sides.halved,
        rules=rules,
        grids={rule: grid_of(site, rule) for rule in bounds},
    )
