"""ℓ1-sparse unlearning (Jia et al., 2023): fine-tune on those who stay, under an ℓ1 penalty that lets go of the rest.

θ_c ← Adam's ``edit_steps`` steps on L(those who stay) + ``l1`` · ‖θ − θ0‖₁. Approximate. The leavers' data are not read.
Deviations: the penalty is on what tuning has changed, θ − θ0, instead of on θ, since the base model has to stay; it is
constant, where the published code lets it fall to 0; Adam moves by its subgradient, so entries come near 0 and not onto it.
"""

import numpy as np
from pydantic import Field

from clients.work.pooled import Term, Training
from strategies.edit.edited import Edited, EditedParameters, trained
from strategies.state.kept import Kept
from strategies.strategy import Ask


class L1SparseParameters(EditedParameters):
    """``l1``: weight of the penalty."""

    edit_steps: int = Field(20, ge=1)
    edit_batch: int = Field(32, ge=1)
    edit_rate: float = Field(0.3, gt=0)
    l1: float = Field(1e-4, ge=0)


class L1Sparse(Edited[L1SparseParameters]):
    def edit(self, kept: Kept, ask: Ask, leavers: list[str]) -> np.ndarray:
        p = self.parameters
        pool = Term(clients=tuple(sorted(kept.members)))
        training = Training(terms=(pool,), steps=p.edit_steps, batch=p.edit_batch, rate=p.edit_rate, l1=p.l1)
        return trained(kept, ask, training)
