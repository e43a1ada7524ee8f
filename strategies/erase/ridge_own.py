"""Ridge head of one's own: the same head as ``ridge``, from the client's own statistics alone; nothing is summed.

    W_t = (G_t + λI)⁻¹ B_t          serve client t: argmax_y W_t·φ(x) + mix · log p(y | x); anybody else: the base model

Forget u: erase G_u and B_u. Source: ours, the control that shows what the sum adds to ``ridge``.
"""

from typing import ClassVar

from clients.work.served import BASE, Ridge, Served
from strategies.ridge_head import HeadParameters, RidgeStrategy
from strategies.state.grids import Grids
from strategies.state.kept import Kept
from strategies.strategy import Deletion


class RidgeOwnParameters(HeadParameters):
    """``ridge``: λ; ``mix``: weight of the frozen model's log-probabilities; each a number or a grid to choose from.
    ``features``: φ itself, or ``width`` random ReLU features of it."""


class RidgeOwn(RidgeStrategy[RidgeOwnParameters]):
    deletion: ClassVar[Deletion] = "erase"
    parts = (Grids(),)

    def serve(self, kept: Kept, client: str) -> Served:
        if client not in kept.members:
            return BASE
        return Ridge(self.settings, own=kept[Grids()].values(client), relu=self.parameters.relu)
