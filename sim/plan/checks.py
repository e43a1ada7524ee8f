"""All bad input shows here, before anything is written or tuned."""

from pathlib import Path

from clients.errors import InputError
from clients.work.pooled import try_linear
from clients.work.site import HERE, open_site
from sim.attacks import gap
from sim.life.system import check_data, check_model, strategies_of
from sim.plan.needs import Need, need_of, refuse
from sim.plan.rehearsal import rehearsals_of
from sim.plan.sizes import sizes_of
from sim.scenario.model import Scenario
from sim.stream import releasing, requests
from sim.stream.drawing import drawn
from sim.terminal import phase, say
from sim.workers.opening import check_temporary


def prepare(scenario: Scenario, seed: int) -> None:
    """Load data and base model, which is pretrained now if the cache does not hold it.

    Raises:
        InputError: one of them does not fit, or the data lack what a strategy needs.
    """
    check_temporary(scenario.workers)
    dataset = HERE.dataset(scenario.data, seed)
    check_data(scenario, seed)
    for line in dataset.told:
        say(line)
    gap.check(dataset.manifest, scenario)
    check_stream(scenario, seed)
    with phase("opening the base model (pretrained at first use)"):
        site = open_site(scenario.settings(seed))
    check_model(scenario, site)
    for label, strategy in strategies_of(scenario, seed).items():
        if strategy.linear:
            try:
                try_linear(site.model, site.shard(site.manifest.clients[0]))
            except InputError as error:
                raise InputError(f"strategies: {label} does not go with the model; {error}") from error


def check_stream(scenario: Scenario, seed: int) -> None:
    """That the stream can be played: it is drawn, and its releases are found.

    Raises:
        InputError: it asks for clients that are not there, its release calendar ends too early, no deadline can be met.
    """
    spec, dataset = scenario.stream, HERE.dataset(scenario.data, seed)
    if spec.population is not None:
        raise InputError("stream.population: only unmerge simulate imagines clients; a run has those of data.clients")
    if spec.order.strategy not in (None, *(each.label for each in scenario.strategies)):
        raise InputError(f"stream.order.strategy: {spec.order.strategy} is no label of the scenario's strategies")
    shards = dataset.shards if spec.order.reads_data else ()
    who = requests.askers_of(requests.beginning(spec, dataset.manifest.clients, seed), shards)
    releasing.check(spec, drawn(spec, who, seed))


def check_machine(scenario: Scenario, out: Path) -> None:
    """Refuse a scenario that this machine has no room for; nothing is done but data and base model opened."""
    refuse(room_for(scenario, out))


def room_for(scenario: Scenario, out: Path) -> Need:
    """What a scenario needs of this machine, and what is free; nothing is done but data and base model opened."""
    check_temporary(scenario.workers)
    check_data(scenario, scenario.seeds[0])
    check_stream(scenario, scenario.seeds[0])
    with phase("opening the base model (pretrained at first use)"):
        site = open_site(scenario.settings(scenario.seeds[0]))
    check_model(scenario, site)
    return need_of(rehearsals_of(scenario, sizes_of(site, scenario)), out)
