"""Gradient ascent (Golatkar et al., 2020; NegGrad): climb the loss of those who leave. Approximate.

θ_c ← Adam's ``edit_steps`` steps on −L(batches of the leavers' training data). Nothing is asked of those who stay, and
nothing protects them: few, small steps are all that keeps the model useful. Deviations: Adam with the scenario's settings
instead of SGD; the number of steps is fixed beforehand.
"""

import numpy as np
from pydantic import Field

from clients.work.pooled import Term, Training
from strategies.edit.edited import Edited, EditedParameters, trained
from strategies.state.kept import Kept
from strategies.strategy import Ask


class GradientAscentParameters(EditedParameters):
    """As of every edited model; ``edit_steps`` and ``edit_rate`` are small, for ascent has no floor."""

    edit_steps: int = Field(5, ge=1)
    edit_rate: float = Field(0.1, gt=0)


class GradientAscent(Edited[GradientAscentParameters]):
    def edit(self, kept: Kept, ask: Ask, leavers: list[str]) -> np.ndarray:
        p = self.parameters
        term = Term(clients=tuple(leavers), weight=-1.0)
        return trained(kept, ask, Training(terms=(term,), steps=p.edit_steps, batch=p.edit_batch, rate=p.edit_rate))
