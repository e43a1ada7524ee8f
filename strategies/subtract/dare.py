"""DARE and average (Yu et al., 2024): each entry of τ_t is dropped with probability p, the rest is rescaled, then averaged.

Serve θ0 + α · Σ_t d_t ⊙ τ_t / ((1 − p) · T) to everybody, d_t drawn from the run's seed and the client's name. Forget u:
derive τ_u again, drop the same entries, subtract. α is a number, or chosen on the current members' validation data.

The server drops, not the client: it needs each vector by itself, but a vector derived again can be checked as it is.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from clients.work.served import Masked, Served
from strategies.scale import Scales, choose_scale, grid_of
from strategies.state.cluster_sums import ClusterSums
from strategies.state.kept import Kept
from strategies.state.part import Part
from strategies.strategy import Ask, Deletion, RuledParameters, Strategy


class DareParameters(RuledParameters):
    """``drop``: p; ``alpha``: scale of the mean, or a grid of them."""

    drop: Annotated[float, Field(ge=0, lt=1)] = 0.5
    alpha: Scales = 1.0


class Dare(Strategy[DareParameters]):
    deletion: ClassVar[Deletion] = "subtract"

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self._dropped,)

    @property
    def _dropped(self) -> ClusterSums:
        return ClusterSums("dropped", share=self.parameters.drop)

    def localize(self, kept: Kept, ask: Ask) -> None:
        rescale = 1 / (1 - self.parameters.drop)
        grid = [each * rescale for each in grid_of(self.parameters.alpha)]
        self.chosen["scale"] = choose_scale(self, kept, ask, grid)

    def serve(self, kept: Kept, client: str) -> Served:
        return Masked(self._dropped.name, scale=self.chosen.get("scale", 1.0))
