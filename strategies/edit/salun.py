"""SalUn (Fan et al., 2024): random labels, learned by the salient entries alone. Approximate.

m = 1{|∇L(leavers; θ_c)| is among the largest ``salient`` share} (½: above the median). Then Adam's ``edit_steps`` steps on

    L(leavers under random labels) + ``retain`` · L(those who stay),   gradients times m.

Random labels are other ones than the true. Deviations: a batch of each part at every step, as the paper's objective has
it, not an epoch of one and then of the other, as its code has; Adam, not SGD; entries without any gradient are not salient;
where answers are free text a random label is another answer of the pools.
"""

import numpy as np
from pydantic import Field

from clients.work.pooled import Term, Training
from strategies.edit.edited import Edited, EditedParameters, trained
from strategies.state.kept import Kept
from strategies.strategy import Ask


class SalunParameters(EditedParameters):
    """``salient``: share of the entries that move; ``retain``: weight of the loss of those who stay."""

    edit_steps: int = Field(20, ge=1)
    edit_batch: int = Field(16, ge=1)
    edit_rate: float = Field(0.3, gt=0)
    salient: float = Field(0.5, gt=0, le=1)
    retain: float = Field(1.0, ge=0)


class Salun(Edited[SalunParameters]):
    def edit(self, kept: Kept, ask: Ask, leavers: list[str]) -> np.ndarray:
        p = self.parameters
        terms = (
            Term(clients=tuple(leavers), relabelled=True),
            Term(clients=tuple(sorted(kept.members)), weight=p.retain),
        )
        training = Training(terms=terms, steps=p.edit_steps, batch=p.edit_batch, rate=p.edit_rate, salient=p.salient)
        return trained(kept, ask, training)
