"""Task arithmetic (Ilharco et al., 2023): serve θ0 + λ·Σ to everybody. Forget u: derive τ_u again, Σ ← Σ − τ_u.

λ is chosen from a grid on the current members' validation data at every release. Beside ``average`` it is the same direction
on another scale: λ = α/T.
"""

from typing import ClassVar

from clients.jobs import Served
from clients.settings import TuningKind
from strategies.rebuild.rebuilt import Scales
from strategies.scale import choose_scale, grid_of
from strategies.state.kept import Keeps, Kept
from strategies.strategy import Ask, Deletion, Parameters, Strategy


class TaskArithmeticParameters(Parameters):
    """``tuning``: plain or sign_fixed; ``scale``: λ, or a grid of them."""

    tuning: TuningKind = "plain"
    scale: Scales = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class TaskArithmetic(Strategy[TaskArithmeticParameters]):
    deletion: ClassVar[Deletion] = "subtract"
    keeps = Keeps(sum=True)

    @property
    def tuning(self) -> TuningKind:
        return self.parameters.tuning

    def localize(self, kept: Kept, ask: Ask) -> None:
        of_mean = {each * len(kept.members): each for each in grid_of(self.parameters.scale)}
        self.chosen["lambda"] = of_mean[choose_scale(self, kept, ask, list(of_mean))]

    def serve(self, kept: Kept, client: str) -> Served:
        return Served("mean", scale=self.chosen.get("lambda", 1.0) * len(kept.members))
