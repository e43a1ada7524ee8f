"""Average (FT + Merge): serve θ0 + α·Σ/T to everybody, Σ = Σ_t τ_t. Forget u: derive τ_u again, Σ ← Σ − τ_u.

α = 1 by default; a list is a grid, from which α is chosen on the current members' validation data at every release.
"""

from typing import ClassVar

from clients.jobs import Served
from clients.settings import TuningKind
from strategies.scale import choose_scale, grid_of
from strategies.state.kept import Keeps, Kept
from strategies.strategy import Ask, Deletion, Parameters, Strategy


class AverageParameters(Parameters):
    """``tuning``: plain or sign_fixed; ``alpha``: scale of the mean, or a grid of them."""

    tuning: TuningKind = "plain"
    alpha: float | tuple[float, ...] = 1.0


class Average(Strategy[AverageParameters]):
    deletion: ClassVar[Deletion] = "subtract"
    keeps = Keeps(sum=True)

    @property
    def tuning(self) -> TuningKind:
        return self.parameters.tuning

    def localize(self, kept: Kept, ask: Ask) -> None:
        self.chosen["alpha"] = choose_scale(self, kept, ask, grid_of(self.parameters.alpha))

    def serve(self, kept: Kept, client: str) -> Served:
        return Served("mean", scale=self.chosen.get("alpha", 1.0))
