"""Local models: serve θ0 + τ_t to client t, θ0 to anybody else. Storage T·M; forgetting deletes one file.

The upper line in plots: nothing is merged, so nothing interferes.
"""

from typing import ClassVar

from clients.jobs import Served
from clients.settings import TuningKind
from strategies.state.kept import Keeps, Kept
from strategies.strategy import Deletion, Parameters, Strategy


class LocalParameters(Parameters):
    """``tuning``: plain, or sign_fixed to see what the sign constraint costs."""

    tuning: TuningKind = "plain"


class Local(Strategy[LocalParameters]):
    deletion: ClassVar[Deletion] = "erase"
    keeps = Keeps(vectors=True)

    @property
    def tuning(self) -> TuningKind:
        return self.parameters.tuning

    def serve(self, kept: Kept, client: str) -> Served:
        return Served(own=kept.part("vectors", client)) if client in kept.members else Served()
