"""The model that a strategy of a finished run serves to one client, or to anybody, as a module of transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clients.errors import InputError
from clients.models.library import Library, as_library
from clients.models.loaders import place
from clients.settings import ModelSpec
from clients.work.bench import Bench
from clients.work.site import Site, open_site
from sim.life.life import Life, open_life
from sim.life.lock import locked
from sim.life.saved import finished_run


@dataclass(frozen=True)
class Serving:
    """A served model and the life that it is of.

    Attributes:
        where: folder or hub id of the base model.
    """

    life: Life
    site: Site
    label: str
    library: Library
    where: str

    @property
    def model(self) -> ModelSpec:
        """The scenario's section."""
        return self.life.system.scenario.model


def serving(
    run: Path, label: str, client: str | None = None, seed: int | None = None, overrides: Sequence[str] = ()
) -> Serving:
    """What a strategy serves to a client, from the last release of a finished run.

    Args:
        label: of the strategy.
        client: a member; anybody else, and None, get what anybody is served.
        seed: one of the run's; default the first.
        overrides: as of ``sim.life.saved.open_run``.

    Raises:
        InputError: not a finished run, no such strategy, client or seed, or what is served is not one model.
    """
    with locked(run):
        opened = finished_run(run, overrides)
        seeds = opened.scenario.seeds
        if seed is not None and seed not in seeds:
            raise InputError(f"--seed {seed}: {run} has the seeds {', '.join(map(str, seeds))}")
        life = open_life(run, opened.scenario, seeds[0] if seed is None else seed, opened.ledger, opened.commands)
        site = open_site(life.system.settings)
        theta = _theta(life, site, label, client)
    where = place(opened.scenario.model, site.manifest)
    try:
        site.model.assign(theta)
        return Serving(life, site, label, as_library(site.model, where, opened.scenario.model), where)
    finally:
        site.model.reset()


def _theta(life: Life, site: Site, label: str, client: str | None) -> np.ndarray:
    system = life.system
    if label not in system.strategies:
        raise InputError(f"--strategy {label}: the run has {', '.join(system.strategies)}")
    if client is not None and client not in system.population.clients:
        raise InputError(f"--client {client}: there is no such client")
    strategy, kept = system.strategies[label], system.kept_of(label)
    if strategy.failed:
        raise InputError(f"--strategy {label}: failed and serves nobody: {life.record['failed'].get(label)}")
    served = strategy.serve(kept, _nobody(system.population.clients) if client is None else client)
    bench = Bench(site.model, site.model.theta0.cpu().numpy(), site.manifest.label_sets, site.embedding)
    shared = {name: strategy.direction(kept, name) for name in served.shared}
    try:
        return served.theta(bench, shared)
    except InputError as error:
        raise InputError(f"--strategy {label}: {error}; choose a strategy that serves one model, as local does") from error


def _nobody(clients: Sequence[str]) -> str:
    """A name that no client has: who is called so is served what anybody is."""
    return "-" * (1 + max(map(len, clients), default=0))
