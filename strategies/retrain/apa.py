"""APA-like cluster merging (after "adapter partition and aggregation", Hu et al., 2024, arXiv 2404.10327): exact.

Clients lie in K clusters; τ_k is trained from θ0 on the pooled data of cluster k's members (``clients.work.pooled``). Serve
t:

    θ0 + Σ_k w_tk τ_k        w_t = softmax over k of (score of θ0 + τ_k on t's own training data / temperature)

and anybody else θ0 + the plain mean of the τ_k. A cluster is a hash of the client's name, or by ``anchor`` the public point
that its own data are nearest to (``clients.work.anchors``). Forget u: u's cluster alone is trained again from θ0 without u,
and everybody's score of that one vector is taken again; no other vector, score or cluster follows from u. Expected price:
T/K clients trained on, T evaluations. A client who joins, or some of whose examples leave, costs its cluster (by anchor it
is asked again for the nearest, which may be another), and one score under each other vector. Storage K vectors, and T·K
scores as JSON.

The paper was not at hand: we follow its idea as its abstract tells it, with these deviations at least. Ours is for any
model, not for recommendation by an LLM; what is trained is whatever ``model.tune`` says, an adapter where ``model.lora`` is
set. Parts are clients, not examples, and are not balanced; they are not found by clustering the private data, which would
make everybody's place depend on the forgotten. Weights are a client's, not a sample's, and follow from scores on its own
data under each vector, not from similarity. They are of the training data, one of whose vectors has seen them: weights
chosen for each client on what is evaluated would make every result too good.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from clients.data.manifest import Manifest
from clients.errors import InputError
from clients.exact import finite
from clients.jobs import assign_job, score_job, train_job
from clients.work import anchors
from clients.work.pooled import Term, Training
from clients.work.served import BASE, Masked, Mix, Served
from strategies.scale import chunks
from strategies.state.checking import placed
from strategies.state.clusters import By, grouped, number
from strategies.state.kept import Kept
from strategies.strategy import Ask, Deletion, Parameters, Strategy
from strategies.work import Work, pool

Groups = dict[str, dict[str, str]]
"""The members of each cluster, with the digests of their data."""


class ApaParameters(Parameters):
    """``clusters``: how many, ``by``: what numbers a client's; ``steps``: of a cluster's training, ``batch``: examples per
    step; ``temperature``: of the weights."""

    clusters: int = Field(8, ge=1)
    by: By = "hash"
    steps: int = Field(20, ge=1)
    batch: int = Field(32, ge=1)
    temperature: float = Field(0.1, gt=0)


class Apa(Strategy[ApaParameters]):
    deletion: ClassVar[Deletion] = "retrain"

    def check(self, manifest: Manifest) -> None:
        if self.parameters.by == "anchor":
            anchors.check(manifest.public, self.parameters.clusters)

    def localize(self, kept: Kept, ask: Ask) -> None:
        old: Groups = self.chosen.get("clusters", {})
        known = _unchanged(kept, old)
        groups = grouped(self._numbers(kept, ask, known))
        new = {name: kept.digests(group) for name, group in groups.items()}
        stale = {name for name in {*old, *new} if old.get(name) != new.get(name)}
        for name in stale:
            self.erase_vector(name)
        self._train(kept, ask, {name: groups[name] for name in sorted(stale & new.keys())})
        told = {client: self.chosen["scores"][client] for client in known}
        scores = {t: {name: s for name, s in told.get(t, {}).items() if name not in stale} for t in sorted(kept.members)}
        self._score(kept, ask, scores, sorted(new))
        self.chosen = {"clusters": new, "scores": scores}

    def serve(self, kept: Kept, client: str) -> Served:
        names, scores = sorted(self.chosen.get("clusters", {})), self.chosen.get("scores", {})
        if not names:
            return BASE
        if client not in kept.members or client not in scores:
            return Mix(tuple((name, 1 / len(names)) for name in names))
        weights = softmax([scores[client][name] for name in names], self.parameters.temperature)
        return Mix(tuple(zip(names, weights, strict=True)))

    def work(self, before: Sequence[str], after: Sequence[str]) -> Work:
        """Every cluster whose members are others is trained again and scored by all; who is new scores the others too.

        Who is nearest to which anchor is not known before: clusters by anchor are taken to be those by hash.
        """
        p = self.parameters
        old, new = (grouped({c: number(c, p.clusters, self.seed) for c in members}) for members in (before, after))
        changed, known = [name for name in new if new[name] != old.get(name)], set(before)
        scored = sum(len(changed) if client in known else len(new) for client in after)
        return sum((pool(p.steps, p.batch, len(new[name])) for name in changed), Work(evaluations=scored))

    def _numbers(self, kept: Kept, ask: Ask, known: Mapping[str, int]) -> dict[str, int]:
        """The number of every member's cluster; by anchor, those of whom none is known are asked for theirs."""
        count, members = self.parameters.clusters, sorted(kept.members)
        if self.parameters.by == "hash":
            return {client: number(client, count, self.seed) for client in members}
        found = dict(known)
        unknown = [client for client in members if client not in found]
        for index, reply in ask(kept, [assign_job(chunk, count) for chunk in chunks(unknown)]) if unknown else ():
            for client in chunks(unknown)[index]:
                said = reply.facts.get("anchors", {}).get(client)
                if not placed(said, count):
                    raise InputError(f"client {client}: says that {said!r} is the anchor it is nearest to, of {count}")
                found[client] = said
        return found

    def _train(self, kept: Kept, ask: Ask, groups: Mapping[str, Sequence[str]]) -> None:
        """Train the vectors of these clusters."""
        p, names = self.parameters, list(groups)
        terms = [(Term(clients=tuple(group)),) for group in groups.values()]
        jobs = [train_job(Training(terms=term, steps=p.steps, batch=p.batch)) for term in terms]
        for index, reply in ask(kept, jobs) if jobs else ():
            self.keep_vector(names[index], reply.arrays["vector"])

    def _score(self, kept: Kept, ask: Ask, scores: dict[str, dict[str, float]], names: Sequence[str]) -> None:
        """Fill in what each member scores under each vector that it has no score of."""
        missing = {client: [name for name in names if name not in found] for client, found in scores.items()}
        parts = chunks([client for client in missing if missing[client]])
        pairs = [[(client, name) for client in part for name in missing[client]] for part in parts]
        jobs = [score_job([(client, Masked(name)) for client, name in pair], part="train") for pair in pairs]
        for index, reply in ask(kept, jobs) if jobs else ():
            for (client, name), row in zip(pairs[index], reply.facts["scores"], strict=True):
                finite.check(row[0], f"client {client}: its score under {name}")
                scores[client][name] = row[0]


def _unchanged(kept: Kept, old: Groups) -> dict[str, int]:
    """The number of the cluster of every member who was there before, with the same data."""
    now = kept.digests()
    return {
        client: int(name.rpartition("-")[2])
        for name, group in old.items()
        for client, told in group.items()
        if now.get(client) == told
    }


def softmax(scores: Sequence[float], temperature: float) -> list[float]:
    """Weights that grow with the scores and add up to 1."""
    best = max(scores)
    powers = [math.exp((score - best) / temperature) for score in scores]
    return [power / math.fsum(powers) for power in powers]
