"""Local models: serve θ0 + τ_t to client t, θ0 to anybody else. Storage T·M; forgetting deletes one file.

The upper line in plots: nothing is merged, so nothing interferes.
"""

from typing import ClassVar

from clients.work.served import BASE, Own, Served
from strategies.state.kept import Kept
from strategies.state.vectors import Vectors
from strategies.strategy import Deletion, RuledParameters, Strategy


class LocalParameters(RuledParameters):
    """``tuning``: plain, or sign_fixed to see what the sign constraint costs."""


class Local(Strategy[LocalParameters]):
    deletion: ClassVar[Deletion] = "erase"
    parts = (Vectors(),)

    def serve(self, kept: Kept, client: str) -> Served:
        return Own(kept[Vectors()].read(client)) if client in kept.members else BASE
