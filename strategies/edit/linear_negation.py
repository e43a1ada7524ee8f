"""Negation by linearised task arithmetic (Ortiz-Jimenez et al., 2023, "Task Arithmetic in the Tangent Space"). Approximate.

The central model θ_c stays where it is, and a displacement Δ in its tangent space is served:

    f_lin(x; Δ) = f(x; θ_c) + J(x; θ_c)·Δ,    f the logits,    Δ = 0 at first, where this is θ_c itself.

When clients leave, f_lin(x; Δ + τ) is tuned on their training data in ``edit_steps`` steps of Adam from τ = 0, and then
Δ ← Δ − λτ. Tuning and serving are both linear in τ, so subtracting τ is undoing it, as far as the tangent space goes. λ is
chosen as in ``negmerge``: of linspace(0, 1, 21) the one under which the leavers score lowest while the members keep 95 %.

Over several releases tuning starts at the displacement that is served, not at θ_c: what is negated is then what the served
model would learn of the leavers. Kept are θ_c and, once somebody has left, Δ. Where somebody is new, θ_c is trained again
and Δ is gone.

Deviations: logits are linear, not what comes out of an image encoder before its embedding is normalised; θ_c is the
model tuned on everybody, where the paper has the pretrained one; the members' own data are the control. A pass in
tangent space takes about three times the time of an ordinary one; its price in gradient steps is the same.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from clients.jobs import train_job
from clients.work.pooled import Term, Training
from clients.work.served import Linear, Served
from strategies.edit.edited import Edited, EditedParameters
from strategies.edit.negmerge import NEGATED, strength
from strategies.state.kept import Kept
from strategies.strategy import MERGED, Ask

DISPLACEMENT = "displacement"


class LinearNegationParameters(EditedParameters):
    """As of every edited model; batches are as small as NegMerge's."""

    edit_batch: int = Field(2, ge=1)


class LinearNegation(Edited[LinearNegationParameters]):
    linear: ClassVar[bool] = True

    def edit(self, kept: Kept, ask: Ask, leavers: list[str]) -> np.ndarray:
        p, start = self.parameters, self._displacement()
        training = Training(terms=(Term(clients=tuple(leavers)),), steps=p.edit_steps, batch=p.edit_batch, rate=p.edit_rate)
        ((_, reply),) = ask(kept, [train_job(training, start, MERGED)])
        tau = reply.arrays["vector"]
        self.keep_vector(NEGATED, tau)
        _, scale = strength(kept, ask, leavers, Linear(NEGATED, MERGED, start=start))
        self.erase_vector(NEGATED)
        self.chosen["lambda"] = scale
        return np.float32(-scale) * tau

    def apply(self, edit: np.ndarray) -> None:
        name = self._displacement()
        self.keep_vector(DISPLACEMENT, edit if name is None else self.vector(name) + edit)

    def serve(self, kept: Kept, client: str) -> Served:
        displacement = self._displacement()
        if not kept.members or displacement is None:
            return super().serve(kept, client)
        return Linear(displacement, MERGED)

    def _displacement(self) -> str | None:
        """Its name, if nobody has left yet None."""
        return DISPLACEMENT if self.store.has(self._vector_file(DISPLACEMENT)) else None
