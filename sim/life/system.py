"""The state of one simulated system: what the server keeps under each tuning rule, and the strategies that use it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clients.data import loaders as data
from clients.data.dataset import Dataset
from clients.errors import InputError
from clients.exact.files import write_whole
from clients.jobs import open_site
from clients.settings import Settings, TuningKind
from sim.scenario.model import Scenario
from sim.stream import requests as stream
from strategies.registry import REGISTRY
from strategies.state.kept import Keeps, Kept
from strategies.strategy import DERIVES, Strategy

Rule = TuningKind | None


@dataclass(frozen=True)
class System:
    """One seed's system; strategies that share a tuning rule share its ``Kept``.

    Attributes:
        joining: the clients who join.
        unseen: clients whom no strategy ever sees, evaluated all the same.
        folder: ``state/SEED`` of a run folder, or a scratch folder of an audit.
        kept: by tuning rule, None for strategies that tune nothing.
        strategies: by label.
    """

    scenario: Scenario
    seed: int
    settings: Settings
    dataset: Dataset
    joining: tuple[str, ...]
    unseen: tuple[str, ...]
    folder: Path
    kept: dict[Rule, Kept]
    strategies: dict[str, Strategy[Any]]

    def kept_of(self, label: str) -> Kept:
        return self.kept[self.strategies[label].tuning]

    def labels(self, rule: Rule) -> list[str]:
        """Strategies of a tuning rule."""
        return [label for label, strategy in self.strategies.items() if strategy.tuning == rule]

    def derives(self, rule: Rule) -> list[str]:
        """Strategies of a tuning rule that pay for deriving a forgotten client's vector again."""
        return [label for label in self.labels(rule) if self.strategies[label].deletion in DERIVES]

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
    bounds = site.model.layout.bounds
    strategies = strategies_of(scenario, seed, folder)
    keeps: dict[Rule, Keeps] = {}
    for strategy in strategies.values():
        keeps[strategy.tuning] = keeps.get(strategy.tuning, Keeps()) | strategy.keeps
    kept = {
        rule: (Kept.load if load else Kept)(folder / f"kept-{rule or 'nothing'}", rule, bounds, needed, seed)
        for rule, needed in keeps.items()
    }
    if load:
        for strategy in strategies.values():
            strategy.load()
    joining, unseen = stream.population(scenario.stream, site.dataset.clients, seed)
    return System(scenario, seed, settings, site.dataset, joining, unseen, folder, kept, strategies)


def strategies_of(scenario: Scenario, seed: int, folder: Path = Path()) -> dict[str, Strategy[Any]]:
    """The scenario's strategies by label, their files below the folder; none is touched here."""
    return {
        spec.label: REGISTRY[spec.strategy][0](spec.parameters, seed, folder / "strategies" / quote(spec.label, safe=""))
        for spec in scenario.strategies
    }


def check_data(scenario: Scenario, seed: int) -> None:
    """Raise InputError, with the strategy's name, if a strategy needs what the data do not hold."""
    dataset = data.load(scenario.data, seed)
    for label, strategy in strategies_of(scenario, seed).items():
        try:
            strategy.check(dataset)
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
