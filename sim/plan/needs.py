"""The room that a scenario takes on disk and in memory, by pure functions of it and a few sizes; and is there as much.

Bytes on disk follow from what a strategy declares to keep (``strategies.state.kept``): per parameter 8 of a sum, 4 of a vector or
counter, a bit of a mask. Members' and chosen values, JSON of a few hundred bytes a client, are not counted.

Deviations: spectral clustering is taken to find as many clusters as it is asked for, and clusters by anchor to be those by
hash, as who is nearest to which anchor is not known before. Memory is an estimate: arrays that grow
with the tunable parameters d, beside a process that holds the base model; activations, and memory of a GPU, are not in it.
"""

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clients.errors import InputError
from clients.jobs import Site, open_site
from sim.life.asking import MOST_TRAININGS
from sim.life.evaluation import CLIENTS_PER_WAVE
from sim.life.system import Rule, check_data, strategies_of
from sim.plan import machine
from sim.plan.work import Members, left, releases_of, whole_pool
from sim.report.figures import human_bytes
from sim.scenario.model import Scenario, StreamSpec
from sim.stream import requests as stream
from sim.terminal import phase
from strategies.edit.linear_negation import LinearNegation
from strategies.edit.negmerge import NegMerge
from strategies.rebuild.rebuilt import Masked
from strategies.relearn.clamu import Clamu
from strategies.retrain.apa import Apa
from strategies.retrain.sisa import Sisa
from strategies.state.cluster_sums import Additive
from strategies.state.clusters import number
from strategies.state.kept import Keeps
from strategies.strategy import Strategy
from strategies.subtract.vote_masks import VoteMasks

SAFETENSORS_ORDER = ("U8", "I16", "U16", "I32", "U32", "F32", "F64", "I64")
"""A file holds its arrays by type, the last of these first, then by name; the length of its header follows from it."""

WORKING = 32
"""Bytes per tunable parameter that a worker holds beside the open model: Adam's moments, the vector and its grid values."""


@dataclass(frozen=True)
class Sizes:
    """What prices follow from.

    Attributes:
        clients: the names of those who join; random clusters and the order of requests follow from them.
        parameters, tunable, tensors: of the base model: all of them, those that are tuned, and in how many tensors.
        features: width of a client's mean feature.
        process: bytes of memory of a process that has opened data and base model.
    """

    clients: tuple[str, ...]
    parameters: int
    tunable: int
    tensors: int
    features: int = 0
    process: int = 0


@dataclass(frozen=True)
class Need:
    """What a run needs of the machine and what is free, in bytes, and the strategies that need most.

    Attributes:
        disk: by folder, that of the run and that of temporary files: (needed, free).
        memory: (needed, free).
    """

    disk: Mapping[str, tuple[int, int]]
    memory: tuple[int, int]
    most_disk: tuple[str, int]
    most_memory: tuple[str, int]


def sizes_of(site: Site, spec: StreamSpec) -> Sizes:
    """Sizes of an open site whose clients join as the stream says."""
    layout, clients = site.model.layout, stream.population(spec, site.dataset.clients, site.settings.seed)[0]
    return Sizes(clients, site.model.parameters, layout.size, len(layout.names), process=machine.held())


# -- bytes on disk ----------------------------------------------------------------------------------------------------


def safetensors_bytes(arrays: Mapping[str, tuple[Any, tuple[int, ...]]]) -> int:
    """Bytes of a safetensors file of arrays, by name their type and shape."""
    types = {name: np.dtype(kind) for name, (kind, _) in arrays.items()}
    named = {name: f"{kind.kind.upper()}{8 * kind.itemsize}" for name, kind in types.items()}
    header, offset = {}, 0
    for name in sorted(arrays, key=lambda name: (-SAFETENSORS_ORDER.index(named[name]), name)):
        shape = arrays[name][1]
        end = offset + types[name].itemsize * math.prod(shape)
        header[name] = {"dtype": named[name], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    return 8 + 8 * math.ceil(len(json.dumps(header, separators=(",", ":"))) / 8) + offset


def vector_bytes(entries: int) -> int:
    """A file of one fp32 array."""
    return safetensors_bytes({"value": (np.float32, (entries,))})


def mask_bytes(sizes: Sizes) -> int:
    return (sizes.tunable + 7) // 8


def kept_bytes(keeps: Keeps, sizes: Sizes, members: Members, seed: int) -> int:
    """The files of these parts of ``Kept``, of so many members."""
    d, n = sizes.tunable, len(members)
    total = safetensors_bytes({"sum": (np.int64, (d,)), "count": (np.int64, (1,))}) if keeps.sum else 0
    total += len({*keeps.masks, *keeps.counts}) * n * (mask_bytes(sizes) + vector_bytes(sizes.tensors))
    total += len(keeps.counts) * safetensors_bytes({"counts": (np.int32, (d,))})
    total += n * (keeps.vectors * vector_bytes(d) + keeps.features * vector_bytes(sizes.features))
    total += keeps.gram * safetensors_bytes({"gram": (np.float64, (n, n))})
    return total + sum(additive_bytes(additive, d, members, seed) for additive in keeps.additive)


def additive_bytes(additive: Additive, size: int, members: Members, seed: int) -> int:
    """The file of sums per cluster."""
    counts = hashed(members, additive.clusters, seed)
    arrays: dict[str, tuple[Any, tuple[int, ...]]] = {str(k): (additive.stored(c), (size,)) for k, c in counts.items()}
    return safetensors_bytes(arrays | {"counts": (np.int64, (len(counts), 2))})


def hashed(members: Members, clusters: int, seed: int) -> dict[int, int]:
    """How many members each random cluster has that somebody is in."""
    numbers = [number(client, clusters, seed) for client in members]
    return {k: numbers.count(k) for k in sorted(set(numbers))}


def masks_of(strategy: Strategy[Any], members: Members) -> int:
    """How many mask files of its own a strategy has."""
    if not isinstance(strategy, Clamu | Masked | VoteMasks):
        return 0
    among = strategy.parameters.clusters
    if among == "clients":
        return len(members)
    if isinstance(strategy, Clamu) and (strategy.parameters.affinity != "random" or among >= len(members)):
        return min(among, len(members))
    return len(hashed(members, among, strategy.seed))


def own_bytes(strategy: Strategy[Any], sizes: Sizes, members: Members) -> int:
    """A strategy's own masks and vectors."""
    vectors = 1 if strategy.deletion in ("rebuild", "retrain", "edit") and members else 0
    if isinstance(strategy, LinearNegation) and members and len(members) < len(sizes.clients):
        vectors = 2  # once somebody has left: the model, and the displacement from it
    if isinstance(strategy, Sisa):  # a checkpoint for each slice that somebody is in
        vectors = sum(bool(one) for shard in strategy.slices_of(members) for one in shard)
    if isinstance(strategy, Apa):
        vectors = len(hashed(members, strategy.parameters.clusters, strategy.seed))
    return masks_of(strategy, members) * mask_bytes(sizes) + vectors * vector_bytes(sizes.tunable)


def storage(strategy: Strategy[Any], sizes: Sizes, members: Members) -> int:
    """Bytes kept for a strategy while these are its members: its share of what is kept, and its own files."""
    return kept_bytes(strategy.keeps, sizes, members, strategy.seed) + own_bytes(strategy, sizes, members)


def keeps_of(strategies: Mapping[str, Strategy[Any]]) -> dict[Rule, Keeps]:
    """What is kept under each tuning rule for all of its strategies."""
    keeps: dict[Rule, Keeps] = {}
    for strategy in strategies.values():
        keeps[strategy.tuning] = keeps.get(strategy.tuning, Keeps()) | strategy.keeps
    return keeps


def caching(keeps: Keeps) -> Keeps:
    """The parts with the vectors that are cached for merging again, or until inner products are taken."""
    return keeps.model_copy(update={"vectors": keeps.vectors or keeps.cached_vectors or keeps.gram})


def state_bytes(scenario: Scenario, sizes: Sizes, members: Members, seed: int) -> int:
    """The whole state of one seed, in which strategies of a tuning rule share what they keep, and cached vectors."""
    strategies = strategies_of(scenario, seed)
    shared = sum(kept_bytes(caching(keeps), sizes, members, seed) for keeps in keeps_of(strategies).values())
    return shared + sum(own_bytes(strategy, sizes, members) for strategy in strategies.values())


def most_bytes(scenario: Scenario, sizes: Sizes, seed: int) -> int:
    """The state of one seed at its largest: of everybody, or after the first release, which adds to some strategies."""
    first = releases_of(scenario, sizes.clients, seed)[:1]
    return max(state_bytes(scenario, sizes, members, seed) for members in (sizes.clients, *(each.staying for each in first)))


# -- memory -----------------------------------------------------------------------------------------------------------


def held(keeps: Keeps, sizes: Sizes, members: Members, seed: int) -> int:
    """Sums, counters and sums per cluster, which the server holds all the time."""
    bytes_ = 8 * keeps.sum + 4 * len(keeps.counts)
    for additive in keeps.additive:
        bytes_ += np.dtype(additive.dtype).itemsize * len(hashed(members, additive.clusters, seed))
    return bytes_ * sizes.tunable


def passing(strategy: Strategy[Any], sizes: Sizes) -> int:
    """What the server holds while it merges, evaluates or saves for a strategy.

    A vector to save, its bytes and the direction that is served (20 bytes per parameter), and the masks or vectors of the
    clients whose jobs are made at once.
    """
    d, n = sizes.tunable, min(len(sizes.clients), CLIENTS_PER_WAVE)
    served = 4 * d * n if strategy.keeps.vectors else 0
    if strategy.keeps.masks or masks_of(strategy, sizes.clients):
        served = mask_bytes(sizes) * n
    directions = sum(additive.clusters for additive in strategy.keeps.additive)
    directions += strategy.parameters.shards if isinstance(strategy, Sisa) else 0
    directions += strategy.parameters.clusters if isinstance(strategy, Apa) else 0
    directions += 2 if isinstance(strategy, LinearNegation) else isinstance(strategy, NegMerge)  # while λ is chosen
    return served + (20 + 4 * directions) * d


def server_memory(strategy: Strategy[Any], sizes: Sizes) -> int:
    """Peak memory of the server if this were the only strategy."""
    return sizes.process + held(strategy.keeps, sizes, sizes.clients, strategy.seed) + passing(strategy, sizes)


def worker_memory(keeps: Keeps, sizes: Sizes, cohort: int) -> int:
    """Peak memory of a worker that tunes cohorts and sends what is kept of them; without activations."""
    wants = keeps.wants()
    sent = wants.vector * 4 * sizes.tunable + len(wants.masks) * mask_bytes(sizes)
    return sizes.process + WORKING * sizes.tunable + cohort * sent


def workers_memory(scenario: Scenario, sizes: Sizes) -> int:
    """Peak memory of one worker, whichever tuning rule needs most; without activations."""
    keeps = keeps_of(strategies_of(scenario, scenario.seeds[0])).values()
    return max(worker_memory(each, sizes, scenario.workers.cohort) for each in keeps)


def run_memory(scenario: Scenario, sizes: Sizes, seed: int, measured: int = 0) -> int:
    """What all processes of a run take at their peak on this machine beside what this one, its model open, holds now.

    Args:
        measured: what the work of one worker has taken, where it was tried.
    """
    strategies, workers = strategies_of(scenario, seed), scenario.workers
    server = sum(held(each, sizes, sizes.clients, seed) for each in keeps_of(strategies).values())
    server += max(passing(strategy, sizes) for strategy in strategies.values())
    pools = {whole_pool(strategy, (), sizes.clients) for strategy in strategies.values()} - {None}
    server += min(len(pools), MOST_TRAININGS) * 4 * sizes.tunable  # central trainings, held for strategies that share them
    worker = max(workers_memory(scenario, sizes), measured)
    if workers.address is not None:  # a cluster's workers lie on other machines
        return server
    alone = workers.learn == workers.stream == "inline"
    return server + (worker - sizes.process if alone else workers.count * worker)


# -- is there room ----------------------------------------------------------------------------------------------------


def need_of(scenario: Scenario, sizes: Sizes, out: Path, measured: int = 0) -> Need:
    """What all seeds of a scenario need.

    Args:
        measured: memory that the work of one worker has taken, where it was tried.
    """
    everybody, seed = sizes.clients, scenario.seeds[0]
    run = sum(most_bytes(scenario, sizes, each) for each in scenario.seeds)
    audit = max(state_bytes(scenario, sizes, left(scenario, everybody, each), each) for each in scenario.seeds)
    parts = {str(out): run} | ({tempfile.gettempdir(): audit} if "bitwise" in scenario.audit else {})
    disk: dict[int, tuple[str, int, int]] = {}
    for folder, needed in parts.items():
        number, free = machine.disk_free(Path(folder))
        name, sofar, _ = disk.get(number, (folder, 0, 0))
        disk[number] = name, sofar + needed, free
    strategies = strategies_of(scenario, seed)
    stored = {label: state_bytes(_only(scenario, label), sizes, everybody, seed) for label in strategies}
    serving = {label: server_memory(strategy, sizes) for label, strategy in strategies.items()}
    return Need(
        {name: (needed, free) for name, needed, free in disk.values()},
        (run_memory(scenario, sizes, seed, measured), machine.memory_free()),
        max(stored.items(), key=lambda item: item[1]),
        max(serving.items(), key=lambda item: item[1]),
    )


def refuse(need: Need) -> None:
    """Raise InputError if the machine has less than is needed."""
    for folder, (needed, free) in need.disk.items():
        if needed > free:
            raise InputError(
                f"{folder}: the run needs {human_bytes(needed)} of disk and {human_bytes(free)} are free; the largest "
                f"strategy is {need.most_disk[0]} with {human_bytes(need.most_disk[1])}"
            )
    needed, free = need.memory
    if needed > free:
        raise InputError(
            f"workers: the run needs {human_bytes(needed)} of memory and {human_bytes(free)} are free; the largest strategy "
            f"is {need.most_memory[0]}, whose server needs {human_bytes(need.most_memory[1])}; fewer workers need less"
        )


def check_room(scenario: Scenario, out: Path) -> None:
    """Refuse a scenario that this machine has no room for; nothing is done but data and base model opened."""
    check_data(scenario, scenario.seeds[0])
    with phase("opening the base model (pretrained at first use)"):
        sizes = sizes_of(open_site(scenario.settings(scenario.seeds[0])), scenario.stream)
    refuse(need_of(scenario, sizes, out))


def _only(scenario: Scenario, label: str) -> Scenario:
    return scenario.model_copy(update={"strategies": tuple(spec for spec in scenario.strategies if spec.label == label)})
