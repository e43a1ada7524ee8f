"""Task arithmetic (Ilharco et al., 2023): serve θ0 + λ·Σ to everybody. Forget u: derive τ_u again, Σ ← Σ − τ_u.

λ is chosen from a grid on the current members' validation data at every release. Beside ``average`` it is the same direction
on another scale: λ = α/T.
"""

from typing import ClassVar

from clients.work.served import Masked, Served
from strategies.scale import Scales, choose_scale, grid_of
from strategies.state.kept import Kept
from strategies.state.sum import MEAN, Sum
from strategies.strategy import Ask, Deletion, RuledParameters, Strategy


class TaskArithmeticParameters(RuledParameters):
    """``scale``: λ, or a grid of them."""

    scale: Scales = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class TaskArithmetic(Strategy[TaskArithmeticParameters]):
    deletion: ClassVar[Deletion] = "subtract"
    parts = (Sum(),)

    def localize(self, kept: Kept, ask: Ask) -> None:
        of_mean = {each * len(kept.members): each for each in grid_of(self.parameters.scale)}
        self.chosen["lambda"] = of_mean[choose_scale(self, kept, ask, list(of_mean))]

    def serve(self, kept: Kept, client: str) -> Served:
        return Masked(MEAN, scale=self.chosen.get("lambda", 1.0) * len(kept.members))
