"""The state of one simulated system: what the server keeps under each rule, and the strategies that use it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clients.data.manifest import Manifest
from clients.errors import InputError
from clients.exact.files import write_whole
from clients.settings import Settings
from clients.work.rules import rule_of
from clients.work.site import HERE, Site, open_site
from sim.scenario.model import Scenario
from sim.stream import requests as stream
from strategies.registry import strategy_of
from strategies.state.kept import Kept
from strategies.state.part import Part
from strategies.strategy import Strategy

Rule = str | None


@dataclass(frozen=True)
class System:
    """One seed's system; strategies that share a rule share its ``Kept``.

    Attributes:
        joining: the clients who join.
        unseen: clients whom no strategy ever sees, evaluated all the same.
        parameters: of the base model, tunable or not.
        folder: ``state/SEED`` of a run folder, or a scratch folder of an audit.
        manifest: what the server knows of the data.
        kept: by rule, None for strategies that ask for no vectors.
        strategies: by label.
    """

    scenario: Scenario
    seed: int
    settings: Settings
    manifest: Manifest
    joining: tuple[str, ...]
    unseen: tuple[str, ...]
    parameters: int
    folder: Path
    kept: dict[Rule, Kept]
    strategies: dict[str, Strategy[Any]]

    def kept_of(self, label: str) -> Kept:
        return self.kept[self.strategies[label].rule]

    def labels(self, rule: Rule) -> list[str]:
        """Strategies of a rule."""
        return [label for label, strategy in self.strategies.items() if strategy.rule == rule]

    def derives(self, rule: Rule) -> list[str]:
        """Strategies of a rule that pay for deriving a forgotten client's vector again."""
        return [label for label in self.labels(rule) if self.strategies[label].derives]

    def digests(self) -> dict[str, str]:
        """State digest of each strategy."""
        return {label: strategy.digest(self.kept_of(label)) for label, strategy in self.strategies.items()}

    def storage(self) -> dict[str, int]:
        """Bytes kept for each strategy."""
        return {label: strategy.storage(self.kept_of(label)) for label, strategy in self.strategies.items()}

    def save(self) -> None:
        """Write everything that is not on disk yet."""
        for kept in self.kept.values():
            kept.save()
        for strategy in self.strategies.values():
            strategy.save()


def build(scenario: Scenario, seed: int, folder: Path, load: bool = False) -> System:
    """An empty system, or with ``load`` the one that was saved in the folder.

    Raises:
        InputError: data or base model do not fit, or saved state is missing or damaged.
    """
    settings = scenario.settings(seed)
    site = open_site(settings)
    strategies = strategies_of(scenario, seed, folder)
    kept = {
        rule: (Kept.load if load else Kept)(folder / kept_folder(rule), rule, bounds_of(site, rule), parts, seed)
        for rule, parts in parts_by_rule(strategies).items()
    }
    if load:
        for strategy in strategies.values():
            strategy.load()
    joining, unseen = stream.population(scenario.stream, site.manifest.clients, seed)
    return System(scenario, seed, settings, site.manifest, joining, unseen, site.model.parameters, folder, kept, strategies)


def parts_by_rule(strategies: Mapping[str, Strategy[Any]]) -> dict[Rule, tuple[Part, ...]]:
    """What is kept under each rule for all of its strategies, each part once."""
    parts: dict[Rule, dict[Part, None]] = {}
    for strategy in strategies.values():
        parts.setdefault(strategy.rule, {}).update(dict.fromkeys(strategy.parts))
    return {rule: tuple(found) for rule, found in parts.items()}


def bounds_of(site: Site, rule: Rule) -> tuple[int, ...]:
    """Where the tensors of a rule's vectors start, then the end; without a rule those of a task vector."""
    return rule_of(rule).bounds(site) if rule else site.model.layout.bounds


def kept_folder(rule: Rule) -> str:
    """Name of the folder of what is kept under a rule."""
    return f"kept-{quote(rule, safe='') if rule else 'nothing'}"


def strategies_of(scenario: Scenario, seed: int, folder: Path = Path()) -> dict[str, Strategy[Any]]:
    """The scenario's strategies by label, their files below the folder; none is touched here."""
    return {
        spec.label: strategy_of(spec.strategy)(spec.parameters, seed, folder / "strategies" / quote(spec.label, safe=""))
        for spec in scenario.strategies
    }


def check_data(scenario: Scenario, seed: int) -> None:
    """Raise InputError, with the strategy's name, if a strategy needs what the data do not hold."""
    manifest = HERE.dataset(scenario.data, seed).manifest
    for label, strategy in strategies_of(scenario, seed).items():
        try:
            strategy.check(manifest)
        except InputError as error:
            raise InputError(f"strategies: {label}: {error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole."""
    write_whole(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; InputError if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
