"""Zero-shot: serve θ0 to everybody. The line that merging has to beat; nothing is learned, so nothing is forgotten."""

from typing import ClassVar

from clients.work.served import BASE, Served
from strategies.state.kept import Kept
from strategies.strategy import Deletion, Parameters, Strategy


class ZeroShotParameters(Parameters):
    """None."""


class ZeroShot(Strategy[ZeroShotParameters]):
    deletion: ClassVar[Deletion] = "erase"

    def serve(self, kept: Kept, client: str) -> Served:
        return BASE
