"""What the strategies have in common whose merge needs every current client's task vector again at each release."""

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import Field

from clients.work.served import BASE, Masked, Served
from strategies.scale import Scales, choose_scale, grid_of
from strategies.state import clusters, streaming
from strategies.state.kept import Kept
from strategies.state.streaming import Row
from strategies.state.vectors import EveryVector
from strategies.strategy import MERGED, Ask, Deletion, RuledParameters, Strategy, mask_of


class RebuiltParameters(RuledParameters):
    """``tuning``: the rule of the vectors."""


class MaskedParameters(RebuiltParameters):
    """``clusters``: one mask per client, or per random cluster (a hash of the name), whose vector is its members' mean."""

    clusters: Annotated[int, Field(ge=1)] | Literal["clients"] = "clients"


R = TypeVar("R", bound=RebuiltParameters)
M = TypeVar("M", bound=MaskedParameters)


class Rebuilt(Strategy[R]):
    """A strategy that merges all vectors anew whenever someone has left."""

    deletion: ClassVar[Deletion] = "rebuild"
    parts = (EveryVector(),)


class OneModel(Rebuilt[R]):
    """Serves θ0 + scale · merged to everybody, known or not; the scale is a number, or chosen from a grid."""

    @abstractmethod
    def merge(self, kept: Kept, rows: list[Row]) -> np.ndarray:
        """The merged vector of at least one row, fp32 [d]; rows sorted by client name."""

    @property
    @abstractmethod
    def scales(self) -> Scales:
        """The scale, or the grid it is chosen from."""

    def localize(self, kept: Kept, ask: Ask) -> None:
        self.erase_vector(MERGED)
        if kept.members:
            self.keep_merged(self.merge(kept, [kept[EveryVector()].row(client) for client in sorted(kept.members)]))
        self.chosen["scale"] = choose_scale(self, kept, ask, grid_of(self.scales))

    def serve(self, kept: Kept, client: str) -> Served:
        return Masked(MERGED, scale=self.chosen.get("scale", 1.0)) if kept.members else BASE


class MaskEach(Rebuilt[M]):
    """Serves one merged vector under a mask per client or cluster."""

    def rows(self, kept: Kept) -> dict[str, Row]:
        """The vectors that are merged, by the name of their mask: of every client, or of every cluster."""
        groups: dict[str, list[Row]] = {}
        for client in sorted(kept.members):
            groups.setdefault(self.mask_of(client), []).append(kept[EveryVector()].row(client))
        return {name: streaming.mean_of(groups[name]) for name in sorted(groups)}

    def mask_of(self, client: str) -> str:
        """The name of a client's mask."""
        among = self.parameters.clusters
        return mask_of(client) if among == "clients" else f"cluster-{clusters.number(client, among, self.seed)}"
