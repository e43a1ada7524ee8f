"""The state of one simulated system: what the server keeps under each rule, and the strategies that use it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clients.data.dataset import Dataset
from clients.data.manifest import Manifest
from clients.data.population import Population
from clients.data.source import ShardRef
from clients.errors import InputError
from clients.exact.files import write_whole
from clients.exact.grid import FINE, Grid
from clients.settings import Settings
from clients.work.rules import rule_of
from clients.work.site import HERE, Site, open_site
from sim.scenario.model import Scenario
from strategies.registry import strategy_of
from strategies.state.kept import Kept
from strategies.state.part import Part
from strategies.state.store import Store
from strategies.strategy import Strategy

Rule = str | None


@dataclass
class System:
    """One seed's system; strategies that share a rule share its ``Kept``.

    Attributes:
        settings: what workers were opened with, their population as it was then.
        manifest: what the server knows of the data.
        population: as it stands now.
        refs: names that stand for parts of shards: of clients some of whose examples left since workers were opened.
        parameters: of the base model, tunable or not.
        store: where all its files are.
        kept: by rule, None for strategies that ask for no vectors.
        strategies: by label.
        failures: why strategies failed when they last localized, by label.
    """

    scenario: Scenario
    seed: int
    settings: Settings
    manifest: Manifest
    population: Population
    parameters: int
    store: Store
    kept: dict[Rule, Kept]
    strategies: dict[str, Strategy[Any]]
    refs: dict[str, ShardRef] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def kept_of(self, label: str) -> Kept:
        return self.kept[self.strategies[label].rule]

    def labels(self, rule: Rule) -> list[str]:
        """Strategies of a rule."""
        return [label for label, strategy in self.strategies.items() if strategy.rule == rule]

    def derives(self, rule: Rule) -> list[str]:
        """Strategies of a rule that pay for deriving a forgotten client's vector again."""
        return [label for label in self.labels(rule) if self.strategies[label].derives]

    def rejoins(self, label: str) -> bool:
        """Whether a strategy keeps something for which everybody's vector is derived again when somebody joins."""
        return any(part.joins_late for part in self.strategies[label].parts)

    def data(self) -> Dataset:
        """The shards, as the simulator has them."""
        return HERE.dataset(self.settings.data, self.settings.seed, known=self.settings.population)

    def shard_digest(self, client: str) -> str:
        """Digest of the examples that a client has now."""
        return self.data().shard(self.refs.get(client, client)).digest()

    def fresh(self, rule: Rule) -> Kept:
        """An empty state under a rule, in the place of the old one."""
        old, store = self.kept[rule], self.store.at(kept_folder(rule))
        for name in store.sizes():
            store.erase(name)
        new = Kept(old.folder, rule, old.bounds, old.declared, old.seed, store, old.halved, old.layout.grid)
        new.changed = dict(old.changed)
        self.kept[rule] = new
        return new

    def digests(self) -> dict[str, str]:
        """State digest of each strategy."""
        return {label: strategy.digest(self.kept_of(label)) for label, strategy in self.strategies.items()}

    def storage(self) -> dict[str, int]:
        """Bytes kept for each strategy."""
        return {label: strategy.storage(self.kept_of(label)) for label, strategy in self.strategies.items()}

    def save(self) -> None:
        """Write everything that is not in the store yet."""
        for kept in self.kept.values():
            kept.save()
        for strategy in self.strategies.values():
            strategy.save()


def build(scenario: Scenario, seed: int, store: Store, population: Population, load: bool = False) -> System:
    """An empty system, or with ``load`` the one that was saved in the store.

    Raises:
        InputError: data or base model do not fit, or saved state is missing or damaged.
    """
    settings = scenario.settings(seed, population)
    site, folder = open_site(settings), store.path("")
    strategies = strategies_of(scenario, seed, folder, population.joining)
    for label, strategy in strategies.items():
        strategy.store = store.at(strategy_folder(label))
    kept = {
        rule: Kept(
            folder / kept_folder(rule),
            rule,
            bounds_of(site, rule),
            parts,
            seed,
            store.at(kept_folder(rule)),
            population.sides.halved,
            grid_of(site, rule),
        )
        for rule, parts in parts_by_rule(strategies).items()
    }
    if load:
        for each in kept.values():
            each.load()
        for strategy in strategies.values():
            strategy.load()
    return System(scenario, seed, settings, site.manifest, population, site.model.parameters, store, kept, strategies)


def parts_by_rule(strategies: Mapping[str, Strategy[Any]]) -> dict[Rule, tuple[Part, ...]]:
    """What is kept under each rule for all of its strategies, each part once."""
    parts: dict[Rule, dict[Part, None]] = {}
    for strategy in strategies.values():
        parts.setdefault(strategy.rule, {}).update(dict.fromkeys(strategy.parts))
    return {rule: tuple(found) for rule, found in parts.items()}


def bounds_of(site: Site, rule: Rule) -> tuple[int, ...]:
    """Where the tensors of a rule's vectors start, then the end; without a rule those of a task vector."""
    return rule_of(rule).bounds(site) if rule else site.model.layout.bounds


def grid_of(site: Site, rule: Rule) -> Grid:
    """The grid that a rule's vectors are summed on; without a rule nothing is summed."""
    return rule_of(rule).grid(site) if rule else FINE


def kept_folder(rule: Rule) -> str:
    """Folder of what is kept under a rule, in a state folder."""
    return f"kept-{quote(rule, safe='') if rule else 'nothing'}"


def strategy_folder(label: str) -> str:
    """Folder of a strategy's own files, in a state folder."""
    return f"strategies/{quote(label, safe='')}"


def strategies_of(
    scenario: Scenario, seed: int, folder: Path = Path(), joining: tuple[str, ...] = ()
) -> dict[str, Strategy[Any]]:
    """The strategies of a scenario by label, empty, of a system that these clients join at first."""
    found = {
        spec.label: strategy_of(spec.strategy)(spec.parameters, seed, folder / strategy_folder(spec.label))
        for spec in scenario.strategies
    }
    for strategy in found.values():
        strategy.joining = joining
    return found


def check_data(scenario: Scenario, seed: int) -> None:
    """Raise InputError, with the strategy's name, if a strategy needs what the data do not hold."""
    manifest = HERE.dataset(scenario.data, seed).manifest
    for label, strategy in strategies_of(scenario, seed).items():
        try:
            strategy.check(manifest)
        except InputError as error:
            raise InputError(f"strategies: {label}: {error}") from error


def check_model(scenario: Scenario, site: Site) -> None:
    """Raise InputError, with the strategy's name, if a strategy needs what the model does not have."""
    for label, strategy in strategies_of(scenario, site.settings.seed).items():
        try:
            strategy.check_model(len(site.model.layout.names))
        except InputError as error:
            raise InputError(f"strategies: {label}: {error}") from error


def as_json(value: Any) -> bytes:
    """A value as a JSON file has it."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole."""
    write_whole(path, as_json(value))


def read_json(path: Path) -> Any:
    """Read JSON; InputError if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
