"""S3T, sequence-aware sharded sliced training (Basu Roy Chowdhury et al., ICLR 2025, arXiv 2406.16257): exact, and most
deletions train nothing.

Clients lie in S shards, and inside a shard in R slices, as in SISA; the model's tensors are cut by depth into R groups. A
shard is trained in B orders of its slices, each a task vector of its own: stage i takes ``steps`` steps on the first i
slices of the order together, and moves only group i, counted from the top; all others stay as they are. So group i follows
from these slices alone. Everybody is served the mean of the shards' probabilities, or their vote; a shard answers with the
order that has most groups in use, the first of equals. Forget u: in every order the groups from u's slice on are set to 0,
and nothing is trained. Only once no order of the shard has a group left is it trained again.

What the state follows from: a slice is *lost* while one of those who were to join at first is not in it. The population
names them; it is public, and stays as it is whoever leaves. So the state is a function of the population, of who is a
member and of their data: a system that never met the forgotten makes the same bits. What an order keeps was trained on no
lost slice.

Joining: who was not there at first is trained on with its slice, in every order from that stage on. A lost slice is trained
on by no order, so its newcomers, and its members who stay, are learned when the shard is trained again. Who comes back with
the same data has never left. Where only examples of a member leave, its slice is not lost: its stages are trained again.

Deviations: what is sharded are clients, not examples. A shard that is trained again gets no new budget, which would
remember in which order the others left: it has one order then, of all its members, and is trained again from any slice that
changes on, as in SISA. Orders are rotations that begin evenly spaced, where the paper's begin one slice apart, and at most
R: the paper's further orders begin with the same slices, and are lost at the same requests. Groups are of as many tensors
each, of whatever ``model.tune`` says, not of an adapter alone. Adam starts anew at each stage, and steps per stage are
fixed. A stage whose slice is empty is left out. Storage S·B vectors, S once all shards have been trained again.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from clients.data.manifest import Manifest
from clients.errors import InputError
from clients.jobs import Job, train_job
from clients.work.pooled import Term, Training
from clients.work.served import BASE, Ensemble, Served
from strategies.retrain.sisa import check_vote
from strategies.slices import dealt, first_change, rotations, usable
from strategies.state.kept import Kept
from strategies.strategy import Ask, Deletion, Parameters, Strategy
from strategies.work import Work, pool

Slice = Mapping[str, str]
"""The members of a slice, with the digests of their data."""
Order = Sequence[Slice]
"""The slices that an order's stages are trained on, one more at each, up to the first that is lost."""
Place = tuple[int, int]
"""The numbers of a shard and of an order of it."""


class S3tParameters(Parameters):
    """``shards``, ``slices``, ``orders``: S, R and B; ``steps``: of a stage, ``batch``: examples per step; ``aggregate``: of
    the shards."""

    shards: int = Field(5, ge=1)
    slices: int = Field(4, ge=1)
    orders: int = Field(2, ge=1, validate_default=True)
    steps: int = Field(20, ge=1)
    batch: int = Field(32, ge=1)
    aggregate: Literal["mean", "vote"] = "mean"

    @field_validator("orders")
    @classmethod
    def _rotations(cls, orders: int, info: ValidationInfo) -> int:
        slices = info.data.get("slices", orders)
        if orders > slices:
            raise ValueError(f"orders are rotations of the slices, so there are {slices} at most")
        return orders


class S3t(Strategy[S3tParameters]):
    deletion: ClassVar[Deletion] = "retrain"

    def check(self, manifest: Manifest) -> None:
        check_vote(self.parameters.aggregate, manifest)

    def check_model(self, tensors: int) -> None:
        slices = self.parameters.slices
        if tensors < slices:
            raise InputError(
                f"slices: {slices} take a group of tensors each, and the model tunes {tensors} tensors; take fewer"
            )

    def localize(self, kept: Kept, ask: Ask) -> None:
        shards = self._shards(kept.digests())
        old, new = _by_place(self.chosen.get("shards", [])), _by_place(shards)
        first = _first_stages(old, new)
        for place, stage in first.items():
            self._cut(kept, vector_of(*place), old.get(place, []), stage)
        for stage in range(self.parameters.slices):
            due = [place for place, order in new.items() if first[place] <= stage < len(order) and order[stage]]
            jobs = [self._job(kept, place, new[place][: stage + 1]) for place in due]
            for index, reply in ask(kept, jobs) if jobs else ():
                before = sum(map(self.vector, jobs[index].shared))
                self.keep_vector(vector_of(*due[index]), before + reply.arrays["vector"])
        self.chosen["shards"] = shards

    def serve(self, kept: Kept, client: str) -> Served:
        names = []
        for shard, orders in enumerate(self.chosen.get("shards", [])):
            trained = [sum(map(bool, order)) for order in orders]
            if most := max(trained, default=0):
                names.append(vector_of(shard, trained.index(most)))
        return Ensemble(tuple(names), self.parameters.aggregate == "vote") if names else BASE

    def work(self, before: Sequence[str], after: Sequence[str]) -> Work:
        """In every order the stages from the first slice on whose members are others, as far as the order goes."""
        p, total = self.parameters, Work()
        old, new = (_by_place(self._shards(dict.fromkeys(members, ""))) for members in (before, after))
        for place, first in _first_stages(old, new).items():
            order = new.get(place, [])
            for stage in range(first, len(order)):
                if order[stage]:
                    total += pool(p.steps, p.batch, sum(map(len, order[: stage + 1])))
        return total

    def _shards(self, members: Slice) -> list[list[Order]]:
        """What each order of each shard is to be trained on; one order of all who are there where none has anything left."""
        p, found = self.parameters, list[list[Order]]()
        rotated = rotations(p.slices, p.orders)
        everybody, present = (dealt(names, p.shards, p.slices, self.seed) for names in (self.joining, members))
        for first, now in zip(everybody, present, strict=True):
            slices = [{client: members[client] for client in each} for each in now]
            lost = {number for number in range(p.slices) if not set(first[number]) <= set(now[number])}
            orders: list[Order] = [[slices[n] for n in order[: usable(order, lost)]] for order in rotated]
            found.append(orders if any(map(any, orders)) else [slices])
        return found

    def _job(self, kept: Kept, place: Place, slices: Order) -> Job:
        """The stage that these slices end with, from what the order's stages before it have trained."""
        clients = tuple(sorted(client for one in slices for client in one))
        start, stop = group(len(kept.bounds) - 1, self.parameters.slices, len(slices) - 1)
        training = Training(
            terms=(Term(clients=clients),), steps=self.parameters.steps, batch=self.parameters.batch, tensors=(start, stop)
        )
        return train_job(training, vector_of(*place) if any(slices[:-1]) else None)

    def _cut(self, kept: Kept, name: str, trained: Order, stage: int) -> None:
        """Let go of the groups of a vector from a stage on."""
        if not any(trained[stage:]):
            return
        if not any(trained[:stage]):
            self.erase_vector(name)
            return
        vector = self.vector(name).copy()
        for later in range(stage, len(trained)):
            start, stop = group(len(kept.bounds) - 1, self.parameters.slices, later)
            vector[kept.bounds[start] : kept.bounds[stop]] = 0
        self.keep_vector(name, vector)


def vector_of(shard: int, order: int) -> str:
    """Name of the vector that a shard has by one of its orders."""
    return f"shard-{shard}-order-{order}"


def group(tensors: int, groups: int, stage: int) -> tuple[int, int]:
    """The first tensor that a stage trains, and the first after them that it does not; stage 0 trains the last ones."""
    place = groups - 1 - stage
    return place * tensors // groups, (place + 1) * tensors // groups


def _by_place(shards: Sequence[Sequence[Order]]) -> dict[Place, Order]:
    return {(shard, number): order for shard, orders in enumerate(shards) for number, order in enumerate(orders)}


def _first_stages(old: Mapping[Place, Order], new: Mapping[Place, Order]) -> dict[Place, int]:
    """By place the first stage that is no longer what it was, or is there no longer."""
    return {place: first_change(old.get(place, []), new.get(place, [])) for place in sorted({*old, *new})}
