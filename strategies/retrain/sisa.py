"""SISA (Bourtoule et al., 2021): sharded, isolated, sliced, aggregated. Exact by training only a part again.

Clients lie in S shards, and inside a shard in R slices, by hashes of their names, so that nobody's place depends on others.
A shard's model is trained slice by slice: stage r takes ``steps`` steps on slices 1 … r together, from the checkpoint of
stage r − 1 (θ0 at first), and its task vector is kept as the next checkpoint. Everybody is served the mean of the shard
models' probabilities, or their vote. Forget u, or some of its examples, or let u join: its shard is trained again from the
checkpoint before u's slice; its price is those steps.

Deviations: what is sharded are clients, not examples; Adam starts anew at each stage, as a checkpoint holds parameters only;
steps per stage are fixed, so a stage does not take longer the more slices it has; aggregation is by mean probability unless
``aggregate: vote`` asks for the paper's majority vote, in which the lowest label number of equals wins. Free text cannot be
voted on. Storage S·R vectors. A stage whose slice is empty is left out.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from clients.data.manifest import Manifest
from clients.errors import InputError
from clients.jobs import train_job
from clients.work.pooled import Term, Training
from clients.work.served import BASE, Ensemble, Served
from strategies.slices import Slices, dealt, first_change
from strategies.state.kept import Kept
from strategies.strategy import Ask, Deletion, Parameters, Strategy
from strategies.work import Work, pool

Seen = Sequence[Mapping[str, str]]
"""The members of each slice, with the digests of their data."""


class SisaParameters(Parameters):
    """``shards``, ``slices``: S and R; ``steps``: of a stage, ``batch``: examples per step; ``aggregate``: of the shards."""

    shards: int = Field(5, ge=1)
    slices: int = Field(3, ge=1)
    steps: int = Field(20, ge=1)
    batch: int = Field(32, ge=1)
    aggregate: Literal["mean", "vote"] = "mean"


class Sisa(Strategy[SisaParameters]):
    deletion: ClassVar[Deletion] = "retrain"

    def check(self, manifest: Manifest) -> None:
        check_vote(self.parameters.aggregate, manifest)

    def localize(self, kept: Kept, ask: Ask) -> None:
        p = self.parameters
        new = self.slices_of(kept.members)
        seen = [[kept.digests(members) for members in slices] for slices in new]
        old = self.chosen.get("shards", [[{}] * p.slices] * p.shards)
        first = [first_change(before, after) for before, after in zip(old, seen, strict=True)]
        for shard in range(p.shards):
            for stage in range(first[shard], p.slices):
                self.erase_vector(checkpoint(shard, stage))
        for stage in range(p.slices):
            due = [shard for shard in range(p.shards) if first[shard] <= stage and new[shard][stage]]
            starts = [_last(new[shard][:stage]) for shard in due]
            jobs = [
                train_job(self._stage(new[shard][: stage + 1]), None if start is None else checkpoint(shard, start))
                for shard, start in zip(due, starts, strict=True)
            ]
            for index, reply in ask(kept, jobs) if jobs else ():
                shard, start, vector = due[index], starts[index], reply.arrays["vector"]
                before = self.vector(checkpoint(shard, start)) if start is not None else 0
                self.keep_vector(checkpoint(shard, stage), before + vector)
        self.chosen["shards"] = seen

    def serve(self, kept: Kept, client: str) -> Served:
        last = [(shard, _last(slices)) for shard, slices in enumerate(self.chosen.get("shards", []))]
        names = tuple(checkpoint(shard, stage) for shard, stage in last if stage is not None)
        return Ensemble(names, self.parameters.aggregate == "vote") if names else BASE

    def work(self, before: Sequence[str], after: Sequence[str]) -> Work:
        """Of every shard the stages from the first slice on whose members are others."""
        p, total = self.parameters, Work()
        for old, new in zip(self.slices_of(before), self.slices_of(after), strict=True):
            for stage in range(first_change(old, new), p.slices):
                if new[stage]:
                    total += pool(p.steps, p.batch, sum(map(len, new[: stage + 1])))
        return total

    def _stage(self, slices: Slices) -> Training:
        clients = tuple(sorted(client for one in slices for client in one))
        return Training(terms=(Term(clients=clients),), steps=self.parameters.steps, batch=self.parameters.batch)

    def slices_of(self, members: Iterable[str]) -> list[Slices]:
        """The members of every slice of every shard."""
        return dealt(members, self.parameters.shards, self.parameters.slices, self.seed)


def check_vote(aggregate: str, manifest: Manifest) -> None:
    """InputError where shards are to vote on free text."""
    if aggregate == "vote" and not manifest.label_sets:
        raise InputError("aggregate: vote needs answers that are labels, and these are free text; take aggregate: mean")


def checkpoint(shard: int, stage: int) -> str:
    """Name of the vector that a shard has after a stage."""
    return f"shard-{shard}-stage-{stage}"


def _last(slices: Sequence[Collection[str]]) -> int | None:
    """The last slice that somebody is in: its stage's checkpoint is the shard's model so far."""
    return max((stage for stage, members in enumerate(slices) if members), default=None)
