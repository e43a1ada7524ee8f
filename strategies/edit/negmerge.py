"""NegMerge (ICML 2025, arXiv 2410.05583) and task negation (Ilharco et al., 2023): tune on the leavers' data, and subtract.

n tunings of θ_c on the leavers' training data under varied settings give τ_1 … τ_n, merged into one τ:

    strict    (Στ_k)/n where all n have the same sign, else 0 (NegMerge); ``agreement`` q < 1 asks |Σ sign τ_k| ≥ (2q − 1)n,
              which is a majority of q·n where no entry is 0
    best      the one τ_k under which the leavers score lowest (task negation)
    uniform   (Στ_k)/n
    ties      TIES-Merging of the n, keeping 20 % of each
    magmax    per entry the one of largest magnitude

Then θ_c ← θ_c − λτ, λ of linspace(0, 1, 21): the one with the lowest mean score on the leavers' training data among those
under which the members (at most 50 are asked, on what is evaluated) keep 95 % of their score; the smallest of equals.
Approximate. ``chosen`` tells λ and the share of entries that τ keeps, ``told`` the seconds of merging without the tunings.
Strict and uniform are folded as vectors arrive: Στ on the exact grid, so that the order does not matter, and for strict
Σ sign; ties and magmax need all n, in files that are deleted at once.

The n settings: batch order always varies, and what ``vary`` names. ``augment``: n of the published settings of RandAugment
(1 to 3 operations, magnitude 1 to 10), evenly spread; ``rate``: factors from ½ to 2 on ``edit_rate``, evenly in the
logarithm; ``dropout``: 0, 0.1 and 0.2 in turn. RandAugment is of pictures alone and dropout of texts alone; a strategy does
not know which the data are, so it asks for both, and ``clients.work.pooled`` leaves out what does not fit.

Deviations: by default pictures vary in learning rate too; ``vary: [augment]`` is as published. ``decay`` is 0 unless asked
for: the published 0.1 goes with a learning rate of 1e-5; with one of 1e-3 it would shrink every entry in all n alike, and
the signs would agree on that. The members' own data are the control, not ImageNet.
"""

import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from pydantic import Field
from safetensors.numpy import save_file

from clients.errors import NotFiniteError
from clients.exact.exact_sum import ExactSum
from clients.jobs import Job, Reply, train_job
from clients.work.pooled import Term, Training
from clients.work.served import Masked, Served
from strategies.edit.edited import Edited, EditedParameters
from strategies.rebuild import magmax, ties
from strategies.scale import asked_members, mean_scores
from strategies.state.kept import Kept
from strategies.state.streaming import mapped
from strategies.strategy import MERGED, Ask

LAMBDAS = tuple(float(value) for value in np.linspace(0, 1, 21))
CONTROL = 0.95
"""Share of the members' score that has to be left."""
TIES_KEEP = 0.2
T = TypeVar("T")
NEGATED = "negated"
AUGMENTATIONS = tuple((operations, magnitude) for operations in (1, 2, 3) for magnitude in range(1, 11))
DROPOUTS = (0.0, 0.1, 0.2)


class NegMergeParameters(EditedParameters):
    """``tunings``: n; ``agreement``: q, of strict alone; ``vary``: what differs between the n beside the order of batches;
    ``decay``: weight decay of the n tunings."""

    merge: Literal["strict", "best", "uniform", "ties", "magmax"] = "strict"
    tunings: int = Field(10, ge=1, le=1000)
    agreement: float = Field(1.0, gt=0.5, le=1)
    edit_batch: int = Field(2, ge=1)
    vary: tuple[Literal["augment", "rate", "dropout"], ...] = ("augment", "rate", "dropout")
    decay: float = Field(0.0, ge=0)


def fold(vectors: Iterable[np.ndarray], size: int) -> tuple[ExactSum, np.ndarray]:
    """Στ and Σ sign τ of vectors as they arrive, fp32 [size] each; the signs int16 [size]."""
    total, signs = ExactSum(size), np.zeros(size, dtype=np.int16)
    for vector in vectors:
        total.add(vector)
        signs += np.sign(vector).astype(np.int16)
    return total, signs


def consensus(total: ExactSum, signs: np.ndarray, agreement: float) -> np.ndarray:
    """The mean where the signs agree, 0 elsewhere; fp32 [size]."""
    needed = (2 * agreement - 1) * total.count - 1e-6  # 0.8 of 10 are 6 more of one sign, not 6.000000000000001
    return np.where(np.abs(signs) >= needed, total.mean(), np.float32(0))


class NegMerge(Edited[NegMergeParameters]):
    def edit(self, kept: Kept, ask: Ask, leavers: list[str]) -> np.ndarray:
        jobs = [train_job(training, MERGED) for training in variants(self.parameters, leavers)]
        best: tuple[float, float, np.ndarray] | None = None
        waiting = Waiting()
        for tau in self._candidates(kept, ask, jobs, waiting):
            if self.parameters.merge != "best":
                self.told = {"merge_seconds": round(waiting.merging, 6)}
            self.keep_vector(NEGATED, tau)
            score, scale = strength(kept, ask, leavers, Masked(NEGATED, start=MERGED))
            if best is None or score < best[0]:
                best = score, scale, tau
        assert best is not None
        self.erase_vector(NEGATED)
        _, scale, tau = best
        self.chosen |= {"lambda": scale, "kept_share": float(np.count_nonzero(tau)) / tau.size}
        return np.float32(-scale) * tau

    def _candidates(self, kept: Kept, ask: Ask, jobs: list[Job], waiting: "Waiting") -> Iterator[np.ndarray]:
        """The merged vector, or for ``best`` each of the n in their order."""
        p = self.parameters
        if p.merge == "best":
            for job in jobs:
                for _, reply in ask(kept, [job]):
                    yield reply.arrays["vector"]
            return
        replies = waiting.through(ask(kept, jobs))
        if p.merge in ("ties", "magmax"):
            yield self._merge_all(replies, kept.size)
        elif p.merge == "uniform":
            total = ExactSum(kept.size)
            for _, reply in replies:
                total.add(reply.arrays["vector"])
            yield total.mean()
        else:
            total, signs = fold((reply.arrays["vector"] for _, reply in replies), kept.size)
            yield consensus(total, signs, p.agreement)

    def _merge_all(self, replies: Iterable[tuple[int, Reply]], size: int) -> np.ndarray:
        """TIES or MagMax over vectors in scratch files."""
        with self.store.scratch() as scratch:
            paths = [Path(scratch) / f"{index}.safetensors" for index in range(self.parameters.tunings)]
            for index, reply in replies:
                save_file({"value": np.ascontiguousarray(reply.arrays["vector"])}, paths[index])
            rows = [mapped(path, size) for path in paths]
            return ties.merge(rows, size, TIES_KEEP) if self.parameters.merge == "ties" else magmax.merge(rows, size)


class Waiting:
    """How long a merge takes from now on, without the time in which it waits for what it merges."""

    def __init__(self) -> None:
        self.started, self.waited = time.perf_counter(), 0.0

    def through(self, items: Iterable[T]) -> Iterator[T]:
        """The items as they come."""
        iterator = iter(items)
        while True:
            asked = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - asked
            yield item

    @property
    def merging(self) -> float:
        """Seconds until now."""
        return time.perf_counter() - self.started - self.waited


def strength(kept: Kept, ask: Ask, leavers: list[str], negated: Served) -> tuple[float, float]:
    """The leavers' score at the λ that is chosen for a served model whose scale is −λ, and that λ."""
    scales = [-value for value in LAMBDAS]
    control = mean_scores(kept, ask, [(client, negated) for client in asked_members(kept)], scales)
    forget = mean_scores(kept, ask, [(client, negated) for client in leavers], scales, part="train")
    index = choose(forget, control)
    return forget[index], LAMBDAS[index]


def variants(p: NegMergeParameters, leavers: list[str]) -> list[Training]:
    """The n trainings, each with its own order and settings."""
    exponents = np.linspace(-1, 1, p.tunings) if p.tunings > 1 else [0.0]
    rows = np.linspace(0, len(AUGMENTATIONS) - 1, p.tunings).round().astype(int)
    return [
        Training(
            terms=(Term(clients=tuple(leavers)),),
            steps=p.edit_steps,
            batch=p.edit_batch,
            rate=p.edit_rate * (float(2.0**exponent) if "rate" in p.vary else 1.0),
            order=order,
            decay=p.decay,
            dropout=DROPOUTS[order % len(DROPOUTS)] if "dropout" in p.vary else 0.0,
            augment=AUGMENTATIONS[row] if "augment" in p.vary else None,
        )
        for order, (exponent, row) in enumerate(zip(exponents, rows, strict=True))
    ]


def choose(forget: list[float], control: list[float]) -> int:
    """Index of the lowest forget score where the control keeps enough of its first value; the first of equals.

    Raises:
        NotFiniteError: there is none, as only scores that are not finite are compared.
    """
    pairs = enumerate(zip(forget, control, strict=True))
    allowed = [i for i, (lost, score) in pairs if score >= CONTROL * control[0] and math.isfinite(lost)]
    if not allowed:
        raise NotFiniteError("no strength of the negation gives finite scores, not even none at all")
    return min(allowed, key=lambda index: (forget[index], index))
