"""What a scenario needs of this machine, on disk and in memory, and whether there is as much.

Bytes on disk follow from the parts that a strategy declares, and from how many files of its own a dry run leaves
(``rehearsal``). Members' and chosen values, JSON of a few hundred bytes a client, are not counted. Memory is an estimate:
arrays that grow with the tunable parameters d, beside a process that holds the base model; activations, and memory of a GPU,
are not in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clients.errors import InputError
from sim.life.asking import MOST_TRAININGS
from sim.life.system import Rule, parts_by_rule
from sim.plan import machine
from sim.plan.rehearsal import Rehearsal
from sim.plan.sizes import Members
from sim.plan.work import releases_of, remaining
from sim.terminal import human_bytes
from strategies.state.kept import with_needs
from strategies.state.layout import Layout
from strategies.state.part import Part

WORKING = 16
"""Bytes per tunable parameter that a worker holds beside the open model: Adam's moments, and the vector. Its grid values and
their partial sum, in the grid's type, come on top."""


@dataclass(frozen=True)
class Need:
    """What a run needs of the machine and what is free, in bytes, and the strategies that need most.

    Attributes:
        disk: by folder of the run: (needed, free).
        memory: (needed, free).
    """

    disk: Mapping[str, tuple[int, int]]
    memory: tuple[int, int]
    most_disk: tuple[str, int]
    most_memory: tuple[str, int]


# -- bytes on disk ----------------------------------------------------------------------------------------------------


def kept_bytes(parts: Iterable[Part], layout: Layout, members: Members) -> int:
    """The files of these parts, while these are members."""
    return sum(part.bytes(layout, members) for part in parts)


def own_bytes(rehearsal: Rehearsal, label: str, *history: Members) -> int:
    """A strategy's own masks and vectors, once these have been members one after another."""
    outcome, layout = rehearsal.outcome(label, *history), rehearsal.layout(rehearsal.strategies[label].rule)
    return outcome.masks * layout.mask_bytes + outcome.vectors * layout.vector_bytes + outcome.other


def storage(rehearsal: Rehearsal, label: str, *history: Members) -> int:
    """Bytes kept for a strategy, once these have been members one after another: its share of what is kept, and its own."""
    strategy = rehearsal.strategies[label]
    shared = kept_bytes(strategy.parts, rehearsal.layout(strategy.rule), history[-1])
    return shared + own_bytes(rehearsal, label, *history)


def state_bytes(rehearsal: Rehearsal, labels: Iterable[str], *history: Members) -> int:
    """The state of some strategies, in which those of one rule share what they keep, and vectors that are kept at hand."""
    chosen = {label: rehearsal.strategies[label] for label in labels}
    shared = sum(
        kept_bytes(with_needs(parts), rehearsal.layout(rule), history[-1]) for rule, parts in parts_by_rule(chosen).items()
    )
    return shared + sum(own_bytes(rehearsal, label, *history) for label in chosen)


def most_bytes(rehearsal: Rehearsal) -> int:
    """The state of one seed at its largest: of everybody, or after the first release, which adds to some strategies."""
    everybody = rehearsal.sizes.clients
    releases = releases_of(rehearsal.scenario, everybody, rehearsal.seed)
    largest = max(releases, key=lambda release: len(release.staying), default=None)
    after = {release.staying for release in (*releases[:1], largest) if release is not None}
    histories = [(everybody,), *((everybody, staying) for staying in sorted(after))]
    return max(state_bytes(rehearsal, rehearsal.strategies, *history) for history in histories)


def beside_bytes(rehearsal: Rehearsal) -> int:
    """What a release writes beside the old files, which are erased once it is committed: all but files of single clients."""
    everybody = rehearsal.sizes.clients
    shared = sum(
        kept_bytes([part for part in with_needs(parts) if not part.per_client], rehearsal.layout(rule), everybody)
        for rule, parts in parts_by_rule(rehearsal.strategies).items()
    )
    return shared + sum(own_bytes(rehearsal, label, everybody) for label in rehearsal.strategies)


# -- memory -----------------------------------------------------------------------------------------------------------


def held(parts: Iterable[Part], layout: Layout, members: Members) -> int:
    """Sums and counters, which the server holds all the time."""
    return sum(part.memory(layout, members) for part in with_needs(parts))


def passing(rehearsal: Rehearsal, label: str) -> int:
    """What the server holds while it merges, evaluates or saves for a strategy.

    A vector to save and its bytes (16 bytes per parameter), the vectors that are served or asked about (4 bytes each, one at
    least), and the masks or vectors of the clients whose jobs are made at once.
    """
    everybody, rule = rehearsal.sizes.clients, rehearsal.strategies[label].rule
    releases = releases_of(rehearsal.scenario, everybody, rehearsal.seed)[:2]
    history = [everybody, *(release.staying for release in releases)]
    outcomes = [rehearsal.outcome(label, *history[:length]) for length in range(1, len(history) + 1)]
    served = sum(rehearsal.bytes_of(*array, rule) for array in outcomes[0].served)
    vectors = max(1, *(outcome.most_vectors for outcome in outcomes))
    return served + (16 + 4 * vectors) * rehearsal.layout(rule).size


def server_memory(rehearsal: Rehearsal, label: str) -> int:
    """Peak memory of the server if this were the only strategy."""
    strategy, sizes = rehearsal.strategies[label], rehearsal.sizes
    mine = held(strategy.parts, rehearsal.layout(strategy.rule), sizes.clients)
    return sizes.process + mine + passing(rehearsal, label)


def worker_memory(rehearsal: Rehearsal) -> int:
    """Peak memory of one worker that tunes cohorts and sends what is kept of them, whichever rule needs most; without
    activations."""
    sizes, cohort = rehearsal.sizes, rehearsal.scenario.workers.cohort
    return max(
        sizes.process + working(rehearsal.layout(rule)) + cohort * sent_bytes(rehearsal, rule, parts)
        for rule, parts in parts_by_rule(rehearsal.strategies).items()
    )


def working(layout: Layout) -> int:
    """Bytes that a worker holds beside the open model while it tunes a client."""
    return (WORKING + 2 * layout.grid.dtype.itemsize) * layout.size


def sent_bytes(rehearsal: Rehearsal, rule: Rule, parts: Iterable[Part]) -> int:
    """Bytes of the masks and vectors that one client sends for these parts when it joins."""
    return sum(rehearsal.bytes_of(*array, rule) for array in rehearsal.sent(rule, parts))


def run_memory(rehearsal: Rehearsal, measured: int = 0) -> int:
    """What all processes of a run take at their peak on this machine beside what this one, its model open, holds now.

    Args:
        measured: what the work of one worker has taken, where it was tried.
    """
    sizes, workers = rehearsal.sizes, rehearsal.scenario.workers
    kept = parts_by_rule(rehearsal.strategies)
    server = sum(held(parts, rehearsal.layout(rule), sizes.clients) for rule, parts in kept.items())
    server += max(passing(rehearsal, label) for label in rehearsal.strategies)
    pools = {key for label in rehearsal.strategies for key in rehearsal.outcome(label, sizes.clients).pools}
    server += min(len(pools), MOST_TRAININGS) * 4 * sizes.tunable  # central trainings, held for strategies that share them
    worker = max(worker_memory(rehearsal), measured)
    if workers.address is not None:  # a cluster's workers lie on other machines
        return server
    alone = workers.learn == workers.stream == "inline"
    return server + (worker - sizes.process if alone else workers.count * worker)


# -- is there room ----------------------------------------------------------------------------------------------------


def need_of(rehearsals: Sequence[Rehearsal], out: Path, measured: int = 0) -> Need:
    """What a run of all these seeds of one scenario needs.

    Args:
        measured: memory that the work of one worker has taken, where it was tried.
    """
    first, *_ = rehearsals
    scenario, everybody = first.scenario, first.sizes.clients
    needed = sum(most_bytes(each) for each in rehearsals) + max(beside_bytes(each) for each in rehearsals)
    if "bitwise" in scenario.audit:
        needed += max(state_bytes(r, r.strategies, _stayed(r)) for r in rehearsals)
    _, free = machine.disk_free(out)
    stored = {label: state_bytes(first, [label], everybody) for label in first.strategies}
    serving = {label: server_memory(first, label) for label in first.strategies}
    return Need(
        {str(out): (needed, free)},
        (run_memory(first, measured), machine.memory_free()),
        max(stored.items(), key=lambda item: item[1]),
        max(serving.items(), key=lambda item: item[1]),
    )


def _stayed(rehearsal: Rehearsal) -> Members:
    everybody = rehearsal.sizes.clients
    return remaining(releases_of(rehearsal.scenario, everybody, rehearsal.seed), everybody)


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
