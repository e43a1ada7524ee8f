"""Average (FT + Merge): serve θ0 + α·Σ/T to everybody, Σ = Σ_t τ_t. Forget u: derive τ_u again, Σ ← Σ − τ_u.

α = 1 by default; a list is a grid, from which α is chosen on the current members' validation data at every release.
"""

from typing import ClassVar

from clients.work.served import Masked, Served
from strategies.scale import choose_scale, grid_of
from strategies.state.kept import Kept
from strategies.state.sum import MEAN, Sum
from strategies.strategy import Ask, Deletion, RuledParameters, Strategy


class AverageParameters(RuledParameters):
    """``alpha``: scale of the mean, or a grid of them."""

    alpha: float | tuple[float, ...] = 1.0


class Average(Strategy[AverageParameters]):
    deletion: ClassVar[Deletion] = "subtract"
    parts = (Sum(),)

    def localize(self, kept: Kept, ask: Ask) -> None:
        self.chosen["alpha"] = choose_scale(self, kept, ask, grid_of(self.parameters.alpha))

    def serve(self, kept: Kept, client: str) -> Served:
        return Masked(MEAN, scale=self.chosen.get("alpha", 1.0))
