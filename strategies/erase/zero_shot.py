"""Zero-shot: serve θ0 to everybody. The line that merging has to beat; nothing is learned, so nothing is forgotten."""

from typing import ClassVar

from clients.jobs import Served
from strategies.state.kept import Keeps, Kept
from strategies.strategy import Deletion, Parameters, Strategy


class ZeroShotParameters(Parameters):
    """None."""


class ZeroShot(Strategy[ZeroShotParameters]):
    deletion: ClassVar[Deletion] = "erase"
    tuning = None
    keeps = Keeps()

    def serve(self, kept: Kept, client: str) -> Served:
        return Served()
