"""The things a client is ever asked to do, as plain data in and plain data out.

``tune``        derive vectors of some clients under a rule; return their exact partial sum and what else is wanted of each
``learn_mask``  learn one mask for some clients together
``train``       train one model on the pooled data of some clients
``assign``      say which anchor each of some clients is nearest to (``clients.work.anchors``)
``score``       evaluate served models on clients' data
``probe``       the same, example by example, on the data that they are trained on too

A ``Job`` and its ``Reply`` hold JSON facts and numpy arrays only, so that every transport (a call, Ray, Flower) carries
them alike. Large arrays that many jobs read are *shared*: the transport sends them once.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from clients.data.source import Referred, ShardRef
from clients.exact import bits, digest
from clients.exact.exact_sum import ExactSum
from clients.work import masking, pooled
from clients.work.bench import Arrays, Bench, Measure, Served
from clients.work.contributions import SUM, Derived, Wanted, contribution
from clients.work.probing import Probing
from clients.work.rules import rule_of
from clients.work.scoring import Part, Scoring, side_of
from clients.work.served import served_of
from clients.work.site import Site

M = TypeVar("M")


@dataclass(frozen=True)
class Job:
    """Work for whoever hosts these clients' data.

    Attributes:
        kind: tune, learn_mask, train, assign, score or probe.
        clients: whose data it needs; the first one decides where it runs.
        facts: JSON values.
        arrays: sent with this job.
        shared: names of shared arrays it reads.
        refs: names among ``clients`` that stand for a part of a client's shard.
    """

    kind: str
    clients: tuple[str, ...]
    facts: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    refs: Mapping[str, ShardRef] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """What came of a job: facts and arrays, or an error.

    Facts always hold ``gradient_steps``, ``parallel_steps``, ``client_tunings`` and ``seconds`` of work.
    """

    clients: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    error: str | None = None


def tune_job(clients: Sequence[str], rule: str, wants: Iterable[Wanted]) -> Job:
    """Derive these clients' vectors under a rule, and send what is wanted of each; a digest of each comes anyway."""
    return Job("tune", tuple(clients), {"rule": rule, "wants": [[each.what, each.value] for each in wants]})


def mask_job(clients: Sequence[str], direction: str, scale: float, steps: int, lr: float) -> Job:
    """Learn one mask on a shared direction for these clients together."""
    facts = {"direction": direction, "scale": scale, "steps": steps, "lr": lr}
    return Job("learn_mask", tuple(clients), facts, shared=(direction,))


def train_job(training: pooled.Training, start: str | None = None, around: str | None = None) -> Job:
    """Train one model on pooled data, from a shared direction or from θ0; with ``around`` linear at that direction."""
    clients = tuple(sorted({client for term in training.terms for client in term.clients}))
    facts = {"training": training.model_dump(mode="json"), "start": start} | ({"around": around} if around else {})
    return Job("train", clients, facts, shared=tuple(name for name in (around, start) if name is not None))


def assign_job(clients: Sequence[str], count: int) -> Job:
    """Which of ``count`` anchors each client is nearest to."""
    return Job("assign", tuple(clients), {"anchors": count})


def score_job(served: Sequence[tuple[str, Served]], scales: Sequence[float] | None = None, part: Part = "reported") -> Job:
    """Evaluate each client under its served model, on a part of its data: at its own scale, or at each of ``scales``."""
    items = [each.facts | {"scales": list(scales or each.scales)} for _, each in served]
    arrays = {f"{index}/{name}": array for index, (_, each) in enumerate(served) for name, array in each.arrays.items()}
    shared = sorted({name for _, each in served for name in each.shared})
    return Job("score", tuple(client for client, _ in served), {"items": items, "part": part}, arrays, tuple(shared))


def served_in(job: Job) -> list[tuple[Served, list[float]]]:
    """What each client of a score or probe job is served, and at which scales."""
    arrays: dict[int, dict[str, np.ndarray]] = {}
    for name, array in job.arrays.items():
        index, _, field_ = name.partition("/")
        arrays.setdefault(int(index), {})[field_] = array
    items = [{key: value for key, value in item.items() if key != "scales"} for item in job.facts["items"]]
    scales = [item["scales"] for item in job.facts["items"]]
    return [(served_of(item, arrays.get(index, {})), scales[index]) for index, item in enumerate(items)]


def probe_job(served: Sequence[tuple[str, Served]]) -> Job:
    """Probe each client under its served model; a client is there once. ``clients.work.probing`` tells the arrays, which
    are called as in ``train/u7``."""
    return replace(score_job(served), kind="probe")


def perform(site: Site, job: Job, shared: Arrays) -> Reply:
    """Do a job. Errors come back as the reply's ``error``, so that one bad client does not end a run."""
    started = time.perf_counter()
    try:
        work = {
            "tune": _tune,
            "learn_mask": _learn_mask,
            "train": _train,
            "assign": _assign,
            "score": _score,
            "probe": _probe,
        }[job.kind]
        reply = work(replace(site, source=Referred(site.source, job.refs)) if job.refs else site, job, shared)
        return replace(reply, facts=reply.facts | {"seconds": time.perf_counter() - started})
    except Exception as error:
        site.model.reset()
        return Reply(job.clients, error=f"{type(error).__name__}: {error}")


def _tune(site: Site, job: Job, shared: Arrays) -> Reply:
    rule, wants = rule_of(job.facts["rule"]), [Wanted(what=what, value=value) for what, value in job.facts["wants"]]
    bounds, grid = rule.bounds(site), rule.grid(site)
    partial = ExactSum(bounds[-1], grid)
    arrays: dict[str, np.ndarray] = {}
    tunings: dict[str, dict[str, Any]] = {}
    for client in job.clients:
        shard = site.shard(client)
        tuned = rule.derive(site, shard)
        derived = Derived(site, shard, tuned.vector, bounds, grid)
        partial.merge(derived.values, 1)
        tunings[client] = {
            "digest": digest.of_integers(derived.values),
            "recipe": tuned.recipe,
            "steps": tuned.steps,
            "tokens": tuned.tokens,
            "loss": tuned.loss,
        }
        arrays |= {f"{each.key}/{client}": contribution(derived, each) for each in wants if each != SUM}
    if SUM in wants:
        arrays[SUM.key] = partial.total
    return Reply(job.clients, tuned_facts(tunings, bounds[-1]), arrays)


def tuned_facts(tunings: Mapping[str, Mapping[str, Any]], parameters: int) -> dict[str, Any]:
    """The facts of a tune job's reply, but for its seconds.

    Args:
        tunings: by client what is told of each.
        parameters: entries of a vector.
    """
    steps = [tuning["steps"] for tuning in tunings.values()]
    return {
        "tunings": tunings,
        "gradient_steps": sum(steps),
        "parallel_steps": max(steps),
        "client_tunings": len(steps),
        "parameters": parameters,
    }


def _learn_mask(site: Site, job: Job, shared: Arrays) -> Reply:
    shards = [site.shard(client) for client in job.clients]
    f = job.facts
    mask = masking.learn_mask(
        site.model, shards, shared[f["direction"]], f["scale"], f["steps"], f["lr"], site.settings.tuning.micro_batch
    )
    facts = {"gradient_steps": f["steps"] * len(shards), "parallel_steps": f["steps"], "client_tunings": 0}
    return Reply(job.clients, facts, {"mask": bits.pack(mask)})


def _train(site: Site, job: Job, shared: Arrays) -> Reply:
    training = pooled.Training.model_validate(job.facts["training"])
    start, around = (shared[name] if (name := job.facts.get(key)) is not None else None for key in ("start", "around"))
    trained = pooled.train(site.model, site.source, training, site.settings.tuning, site.settings.seed, start, around)
    facts = {
        "loss": trained.loss,
        "tokens": trained.tokens,
        "gradient_steps": training.gradients,
        "parallel_steps": training.gradients,
        "client_tunings": len(job.clients),
    }
    return Reply(job.clients, facts, {"vector": trained.vector})


def _assign(site: Site, job: Job, shared: Arrays) -> Reply:
    numbers = {client: site.nearest(client, job.facts["anchors"]) for client in job.clients}
    return Reply(job.clients, {"anchors": numbers, "gradient_steps": 0, "parallel_steps": 0, "client_tunings": 0})


def _score(site: Site, job: Job, shared: Arrays) -> Reply:
    scores, facts = _measured(site, job, shared, Scoring(side_of(site.manifest.sides, job.facts["part"])))
    return Reply(job.clients, {"scores": scores} | facts)


def _probe(site: Site, job: Job, shared: Arrays) -> Reply:
    probed, facts = _measured(site, job, shared, Probing(site.manifest.sides.reported))
    arrays = {
        f"{part}/{client}": array
        for client, (parts,) in zip(job.clients, probed, strict=True)
        for part, array in parts.items()
    }
    return Reply(job.clients, facts, arrays)


def _measured(site: Site, job: Job, shared: Arrays, measure: Measure[M]) -> tuple[list[list[M]], dict[str, Any]]:
    """What is measured of each client's served model at each of its scales, and the facts of such a job."""
    found, asked = [], served_in(job)
    theta0 = site.model.theta0.cpu().numpy()  # once a job: on a GPU this copies
    bench = Bench(site.model, theta0, site.manifest.label_sets, site.embedding)
    for client, (served, scales) in zip(job.clients, asked, strict=True):
        found.append(list(served.measured(bench, site.shard(client), shared, scales, measure)))
    site.model.reset()
    return found, measured_facts(asked)


def evaluations_of(asked: Iterable[tuple[Served, Sequence[float]]]) -> int:
    """Served models that a score or probe job evaluates, each at each of its scales."""
    return sum(len(scales) * served.models for served, scales in asked)


def measured_facts(asked: Iterable[tuple[Served, Sequence[float]]]) -> dict[str, Any]:
    """What a score or probe job is charged, but for its seconds; ``asked`` as ``served_in``."""
    return {"gradient_steps": 0, "parallel_steps": 0, "client_tunings": 0, "evaluations": evaluations_of(asked)}
