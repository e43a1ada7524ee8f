"""Central fine-tuning: one model tuned on the pooled training data of all current clients, served to everybody.

θ0 + τ, where τ is ``steps`` steps of Adam from θ0 on batches of the pool (``clients.work.pooled``). Forget u: train again
from θ0 on what is left; the usual exact baseline, as dear as learning itself. The order of the data follows from the seed
and from who is in the pool. Deviation from SIFT-Masks' central line (up to 800 steps): the number of steps is fixed
beforehand, not chosen on validation data, and does not shrink as clients leave.
"""

from typing import Any, ClassVar

from pydantic import Field

from clients.jobs import train_job
from clients.work.pooled import Term, Training
from clients.work.served import BASE, Masked, Served
from strategies.state.kept import Kept
from strategies.strategy import MERGED, Ask, Deletion, Parameters, Strategy


class CentralParameters(Parameters):
    """``steps``: of pooled training; ``batch``: examples per step. The learning rate is the scenario's ``tuning.lr``."""

    steps: int = Field(200, ge=1)
    batch: int = Field(32, ge=1)


class Central(Strategy[CentralParameters]):
    deletion: ClassVar[Deletion] = "retrain"

    def localize(self, kept: Kept, ask: Ask) -> None:
        members = kept.digests()
        if members != self.chosen.get("members"):
            self.erase_vector(MERGED)
            train_centrally(self, kept, ask, self.parameters)
        self.chosen["members"] = members

    def serve(self, kept: Kept, client: str) -> Served:
        return Masked(MERGED) if kept.members else BASE


def train_centrally(strategy: Strategy[Any], kept: Kept, ask: Ask, parameters: CentralParameters) -> None:
    """Train on the pool of all members and keep the vector as the strategy's merged one; nothing where nobody is."""
    if kept.members:
        pool = Term(clients=tuple(sorted(kept.members)))
        training = Training(terms=(pool,), steps=parameters.steps, batch=parameters.batch)
        for _, reply in ask(kept, [train_job(training)]):
            strategy.keep_merged(reply.arrays["vector"])
