"""The things a client is ever asked to do, as plain data in and plain data out.

``tune``        derive task vectors of some clients; return their exact partial sum and what else is wanted of each
``learn_mask``  learn one mask for some clients together
``train``       train one model on the pooled data of some clients
``assign``      say which anchor each of some clients is nearest to (``clients.work.anchors``)
``score``       evaluate served models on clients' data
``probe``       the same, example by example, on the data that they are trained on too

A ``Job`` and its ``Reply`` hold JSON facts and numpy arrays only, so that every transport (a call, Ray, Flower) carries
them alike. Large arrays that many jobs read are *shared*: the transport sends them once.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np
import torch

from clients.data import loaders as data
from clients.data.dataset import Dataset, Shard
from clients.exact import bits, digest, exact_sum
from clients.exact.determinism import deterministic
from clients.models import loaders as models
from clients.models.flat import BaseModel
from clients.settings import Settings, TuningKind
from clients.strict import Strict
from clients.work import anchors, masking, pooled, probing, scoring, tuning
from clients.work.scoring import Part

Arrays = Mapping[str, np.ndarray]
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
    """

    kind: str
    clients: tuple[str, ...]
    facts: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """What came of a job: facts and arrays, or an error.

    Facts always hold ``gradient_steps``, ``parallel_steps``, ``client_tunings`` and ``seconds`` of work.
    """

    clients: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    error: str | None = None


class Wants(Strict):
    """What a server wants of each task vector besides its digest.

    Attributes:
        sum: the exact partial sum of the cohort.
        masks: kept shares ρ; for each, a packed mask of the vector's largest ρ and the mean size of its kept entries
            per tensor.
        vector: the task vector itself.
        features: mean feature of the shard under the base model.
        anchors: numbers of anchors; for each, which of so many the shard is nearest to, a fact of the reply.
    """

    sum: bool = False
    masks: tuple[float, ...] = ()
    vector: bool = False
    features: bool = False
    anchors: tuple[int, ...] = ()

    def holds(self, name: str) -> bool:
        """Whether an array of a reply, by its name, is among what is wanted."""
        part, _, rest = name.partition("/")
        if part in ("mask", "size"):
            return float(rest.partition("/")[0]) in self.masks
        return {"sum": self.sum, "vector": self.vector, "features": self.features}[part]

    def __or__(self, other: "Wants") -> "Wants":
        return Wants(
            sum=self.sum or other.sum,
            masks=tuple(sorted({*self.masks, *other.masks})),
            vector=self.vector or other.vector,
            features=self.features or other.features,
            anchors=tuple(sorted({*self.anchors, *other.anchors})),
        )


@dataclass(frozen=True)
class Served:
    """How a client's model is built from what the server keeps: θ0 + start + scale · (mask ⊙ tensor_scales ⊙ direction).

    With an ``anchor`` it is linear around θ0 + anchor, and start + scale · (…) is the displacement in its tangent space.

    Attributes:
        direction: name of a shared array, fp32 [d]; None serves the base model (or ``own``).
        mask: packed bits; None for all ones.
        tensor_scales: fp32, one factor per tunable tensor.
        own: a direction that only this client has, fp32 [d].
        start: name of a shared direction that is added as it is.
        anchor: name of a shared direction.
        together: names of shared directions; their models θ0 + direction answer with the mean of their probabilities, and
            nothing else is served.
        vote: those models vote for labels instead.
        mixed: names of shared directions with weights; their weighted sum stands in the place of ``direction``.
    """

    direction: str | None = None
    scale: float = 1.0
    mask: np.ndarray | None = None
    tensor_scales: np.ndarray | None = None
    own: np.ndarray | None = None
    start: str | None = None
    anchor: str | None = None
    together: tuple[str, ...] = ()
    vote: bool = False
    mixed: tuple[tuple[str, float], ...] = ()


def tune_job(clients: Sequence[str], kind: TuningKind, wants: Wants) -> Job:
    """Derive these clients' task vectors."""
    return Job("tune", tuple(clients), {"kind": kind, "wants": wants.model_dump(mode="json")})


def mask_job(clients: Sequence[str], direction: str, scale: float, steps: int, lr: float) -> Job:
    """Learn one mask on a shared direction for these clients together."""
    facts = {"direction": direction, "scale": scale, "steps": steps, "lr": lr}
    return Job("learn_mask", tuple(clients), facts, shared=(direction,))


def train_job(training: pooled.Training, start: str | None = None, anchor: str | None = None) -> Job:
    """Train one model on pooled data, from a shared direction or from θ0; with an anchor linear around that direction."""
    clients = tuple(sorted({client for term in training.terms for client in term.clients}))
    facts = {"training": training.model_dump(mode="json"), "start": start} | ({"anchor": anchor} if anchor else {})
    return Job("train", clients, facts, shared=tuple(name for name in (anchor, start) if name is not None))


def assign_job(clients: Sequence[str], count: int) -> Job:
    """Which of ``count`` anchors each client is nearest to."""
    return Job("assign", tuple(clients), {"anchors": count})


def score_job(served: Sequence[tuple[str, Served]], scales: Sequence[float] | None = None, part: Part = "evaluated") -> Job:
    """Evaluate each client under its served model, on a part of its data: at its own scale, or at each of ``scales``."""
    arrays: dict[str, np.ndarray] = {}
    items = []
    for index, (_, s) in enumerate(served):
        named: dict[str, Any] = {"start": s.start, "anchor": s.anchor, "together": s.together}
        named |= {"vote": s.vote, "mixed": s.mixed}
        item = {"direction": s.direction, "scales": list(scales or [s.scale])}
        items.append(item | {key: value for key, value in named.items() if value})
        for name in ("mask", "tensor_scales", "own"):
            if (array := getattr(s, name)) is not None:
                arrays[f"{index}/{name}"] = array
    read = {name for _, s in served for name in (s.direction, s.start, s.anchor, *s.together, *dict(s.mixed))}
    shared = sorted(name for name in read if name is not None)
    return Job("score", tuple(client for client, _ in served), {"items": items, "part": part}, arrays, tuple(shared))


def probe_job(served: Sequence[tuple[str, Served]]) -> Job:
    """Probe each client under its served model; a client is there once. See ``clients.work.probing`` for the arrays, which are
    called as in ``train/u7``."""
    return replace(score_job(served), kind="probe")


@dataclass(frozen=True)
class Site:
    """Where jobs are done: the data and the base model, loaded once per process, and the anchors that were asked for."""

    settings: Settings
    dataset: Dataset
    model: BaseModel
    anchors: dict[int, np.ndarray] = field(default_factory=dict, compare=False)

    def anchors_of(self, count: int) -> np.ndarray:
        """So many anchors, float64 [count, width], made at the first call; InputError where public data are too few."""
        if count not in self.anchors:
            self.anchors[count] = anchors.anchors(self.model, self.dataset.public, count, self.settings.seed)
        return self.anchors[count]

    def nearest(self, client: str, count: int) -> int:
        """The number of the anchor, of so many, that a client's training data are nearest to."""
        return anchors.number(self.model, self.dataset.shard(client).train, self.anchors_of(count))


@lru_cache(maxsize=2)
def open_site(settings: Settings) -> Site:
    """Load data and base model; repeated calls in a process return the same site."""
    dataset = data.load(settings.data, settings.seed)
    return Site(settings, dataset, models.load(settings.model, dataset, settings.device))


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
        reply = work(site, job, shared)
        return replace(reply, facts=reply.facts | {"seconds": time.perf_counter() - started})
    except Exception as error:
        site.model.reset()
        return Reply(job.clients, error=f"{type(error).__name__}: {error}")


def _tune(site: Site, job: Job, shared: Arrays) -> Reply:
    wants = Wants.model_validate(job.facts["wants"])
    size = site.model.layout.size
    partial = exact_sum.ExactSum(size)
    arrays: dict[str, np.ndarray] = {}
    tunings: dict[str, dict[str, Any]] = {}
    for client in job.clients:
        shard = site.dataset.shard(client)
        tuned = tuning.tune(site.model, shard, job.facts["kind"], site.settings.tuning, site.settings.seed)
        grid = exact_sum.to_grid(tuned.vector)
        partial.merge(grid, 1)
        tunings[client] = {
            "digest": digest.of_array(grid),
            "recipe": tuned.recipe,
            "steps": tuned.steps,
            "tokens": tuned.tokens,
            "loss": tuned.loss,
        }
        if wants.anchors:
            tunings[client]["anchors"] = {str(count): site.nearest(client, count) for count in wants.anchors}
        _describe(site.model, client, tuned.vector, wants, arrays)
        if wants.features:
            with deterministic():
                arrays[f"features/{client}"] = site.model.features(shard.train)
    if wants.sum:
        arrays["sum"] = partial.total
    steps = [t["steps"] for t in tunings.values()]
    facts = {
        "tunings": tunings,
        "gradient_steps": sum(steps),
        "parallel_steps": max(steps),
        "client_tunings": len(steps),
        "parameters": size,
    }
    return Reply(job.clients, facts, arrays)


def _describe(model: BaseModel, client: str, vector: np.ndarray, wants: Wants, arrays: dict[str, np.ndarray]) -> None:
    """Add what is wanted of one task vector to the reply's arrays."""
    if wants.vector:
        arrays[f"vector/{client}"] = vector
    for keep in wants.masks:
        mask = bits.largest_share(vector, keep)
        arrays[f"mask/{keep:g}/{client}"] = bits.pack(mask)
        arrays[f"size/{keep:g}/{client}"] = _mean_size(vector, mask, model.layout.bounds)


def _mean_size(vector: np.ndarray, mask: np.ndarray, bounds: tuple[int, ...]) -> np.ndarray:
    """Mean |entry| over the kept entries of each tensor, 0 where none is kept; fp32 [tensors]."""
    ones = np.add.reduceat(mask.astype(np.int64), bounds[:-1])
    sums = np.add.reduceat(np.where(mask, np.abs(vector), 0).astype(np.float64), bounds[:-1])
    return (sums / np.maximum(ones, 1)).astype(np.float32)


def _learn_mask(site: Site, job: Job, shared: Arrays) -> Reply:
    shards = [site.dataset.shard(client) for client in job.clients]
    f = job.facts
    mask = masking.learn_mask(
        site.model, shards, shared[f["direction"]], f["scale"], f["steps"], f["lr"], site.settings.tuning.micro_batch
    )
    facts = {"gradient_steps": f["steps"] * len(shards), "parallel_steps": f["steps"], "client_tunings": 0}
    return Reply(job.clients, facts, {"mask": bits.pack(mask)})


def _train(site: Site, job: Job, shared: Arrays) -> Reply:
    training = pooled.Training.model_validate(job.facts["training"])
    start, anchor = (shared[name] if (name := job.facts.get(key)) is not None else None for key in ("start", "anchor"))
    trained = pooled.train(site.model, site.dataset, training, site.settings.tuning, site.settings.seed, start, anchor)
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
    part = job.facts["part"]
    score, together = partial(scoring.score, part=part), partial(scoring.score_together, part=part)
    scores, facts = _measured(site, job, shared, score, together)
    return Reply(job.clients, {"scores": scores} | facts)


def _probe(site: Site, job: Job, shared: Arrays) -> Reply:
    probed, facts = _measured(site, job, shared, probing.probe, probing.probe_together)
    arrays = {
        f"{part}/{client}": array
        for client, (parts,) in zip(job.clients, probed, strict=True)
        for part, array in parts.items()
    }
    return Reply(job.clients, facts, arrays)


def _measured(
    site: Site,
    job: Job,
    shared: Arrays,
    measure: Callable[[BaseModel, Shard], M],
    together: Callable[[BaseModel, Shard, Iterable[np.ndarray], bool], M],
) -> tuple[list[list[M]], dict[str, Any]]:
    """What is measured of each client's served model at each of its scales, and the facts of such a job."""
    found, evaluations = [], 0
    theta0 = site.model.theta0.cpu().numpy()  # once a job: on a GPU this copies
    for index, (client, item) in enumerate(zip(job.clients, job.facts["items"], strict=True)):
        arrays = {name: job.arrays.get(f"{index}/{name}") for name in ("mask", "tensor_scales", "own")}
        found.append(_served(site, client, theta0, item, arrays, shared, measure, together))
        evaluations += len(item["scales"]) * max(1, len(item.get("together", ())))
    site.model.reset()
    return found, {"gradient_steps": 0, "parallel_steps": 0, "client_tunings": 0, "evaluations": evaluations}


def _served(
    site: Site,
    client: str,
    theta: np.ndarray,
    item: dict[str, Any],
    arrays: dict[str, np.ndarray | None],
    shared: Arrays,
    measure: Callable[[BaseModel, Shard], M],
    together: Callable[[BaseModel, Shard, Iterable[np.ndarray], bool], M],
) -> list[M]:
    """What is measured of a client under one served model, at each of its scales; ``theta`` is θ0."""
    model, shard = site.model, site.dataset.shard(client)
    if names := item.get("together"):
        thetas = (bits.add_masked(theta, shared[name], 1.0) for name in names)
        return [together(model, shard, thetas, item.get("vote", False))]
    anchor = None
    if (name := item.get("anchor")) is not None:
        anchor, theta = bits.add_masked(theta, shared[name], 1.0), np.zeros_like(theta)
    if (start := item.get("start")) is not None:
        theta = bits.add_masked(theta, shared[start], 1.0)
    direction = shared[item["direction"]] if item["direction"] is not None else arrays["own"]
    if mixed := item.get("mixed"):
        direction = bits.weighted_sum([shared[name] for name, _ in mixed], [weight for _, weight in mixed])
    if direction is not None and (factors := arrays["tensor_scales"]) is not None:
        direction = direction * np.repeat(factors, np.diff(model.layout.bounds))
    values = []
    for scale in item["scales"]:
        served = theta if direction is None else bits.add_masked(theta, direction, scale, arrays["mask"])
        model.assign(served if anchor is None else anchor)
        with nullcontext() if anchor is None else model.linear(torch.from_numpy(served).to(model.device)):
            values.append(measure(model, shard))
    return values
