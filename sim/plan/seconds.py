"""Seconds and FLOPs of client work at measured ``speeds``, and of a whole run on the clock.

FLOPs are 6·N for each token that is trained on and 2·N for each that is scored, N all parameters of the base model. Seconds
are client work divided by the number of workers. Those of a whole run also have what the server works out of pairs of
clients, which grows with their square, the start of the program and of its workers, and what these wait.
"""

from collections.abc import Mapping

from clients.settings import TuningSpec
from sim.life.system import Rule
from sim.plan.speeds import Speeds
from sim.plan.work import steps_of
from sim.scenario.workers import Kind, WorkersSpec
from strategies.work import Work

STARTING = {"inline": 0.0, "ray": 16.0, "flower": 10.0}
"""Seconds until workers of a kind are there, as measured (docs/benchmarks.md)."""
PROGRAM = 14.0
"""Seconds of the program's own start and end, likewise."""
WAITING = 1.08
"""How many times as long workers take as if all shared all work, likewise: they wait for the last of a round of jobs, and
for what the server does beside pairs."""


def seconds(work: Work, tunings: Mapping[Rule, int], spec: TuningSpec, speeds: Speeds) -> float:
    """Client work on one worker.

    Args:
        tunings: the work's tunings by rule.
    """
    step = max(speeds.step.values())
    spent = scored(work, speeds) * speeds.score + (work.mask_steps + work.pooled_examples / speeds.step_examples) * step
    return spent + sum(
        n * (speeds.joining[rule] + steps_of(rule, spec) * speeds.step[rule]) for rule, n in tunings.items() if n
    )


def served(pairs: Mapping[Rule, float], speeds: Speeds) -> float:
    """Seconds of the server for what it keeps of pairs of clients; no worker shortens them."""
    return sum(count * speeds.pair.get(rule, 0.0) for rule, count in pairs.items())


def elapsed(client: float, server: float, spec: WorkersSpec, cores: int) -> float:
    """Seconds of the clock in which workers and server are done, who share the cores and wait for each other.

    Args:
        client, server: seconds of one worker, and of the server.
        cores: of this machine; without a limit where workers have GPUs or are elsewhere.
    """
    if spec.stream == "inline":
        return client + server
    shared = 0.0 if spec.gpus or spec.address is not None else (client + server) / cores
    return WAITING * max(client / spec.count, server, shared)


def starting(spec: WorkersSpec) -> float:
    """Seconds until workers are there: each kind starts by itself."""
    return sum(STARTING[kind] for kind in {spec.learn, spec.stream})


def flops(work: Work, steps: int, parameters: int, speeds: Speeds) -> float:
    """6·N·tokens of gradient steps and 2·N·tokens of evaluations."""
    examples = (work.tunings * steps + work.mask_steps) * speeds.step_examples + work.pooled_examples
    return parameters * (6 * examples * speeds.example_tokens + 2 * scored(work, speeds) * speeds.score_tokens)


def scored(work: Work, speeds: Speeds) -> float:
    """How many scorings of a client, by one pass over its data, the evaluations and probes come to."""
    return work.evaluations - work.spared + work.probes * speeds.whole


def count_of(kind: Kind, spec: WorkersSpec) -> int:
    """How many workers of a kind work at the same time."""
    return 1 if kind == "inline" else spec.count
