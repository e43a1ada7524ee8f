"""Label prior: the frozen model and a count per label. It shows what an answer is worth that knows little but who asks.

Serve client t: argmax_y log p(y | x) + w · log(n_t(y) + s), p of the frozen model, n_t the labels of t's training data;
anybody else: Σ n in the place of n_t. Forget u: erase n_u, Σ n ← Σ n − n_u. Source: ours, after naive Bayes' class prior.

w is chosen from a grid on data that are not reported; at 0 it is the frozen model, at a large one the most frequent label,
and the model breaks ties. No table of the papers has this line: on natural splits it is the floor that personal models have
to be above.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from clients.data.manifest import Manifest
from clients.work.head import numbering
from clients.work.served import Prior, Served
from strategies.scale import choose_scale, grid_of
from strategies.state.grids import Grids, OwnSum
from strategies.state.kept import Kept
from strategies.state.sum import TOTAL
from strategies.strategy import Ask, Deletion, Parameters, Strategy

Weight = Annotated[float, Field(ge=0, le=1e6)]
ALL = 1e6
"""A weight that leaves it to the model to break ties."""


class LabelPriorParameters(Parameters):
    """``weight``: w, or a grid of them; ``smoothing``: s, added to each count."""

    weight: Weight | Annotated[tuple[Weight, ...], Field(min_length=1)] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, ALL)
    smoothing: float = Field(1.0, gt=0)


class LabelPrior(Strategy[LabelPriorParameters]):
    deletion: ClassVar[Deletion] = "erase"
    rule = "label_counts"
    parts = (Grids(), OwnSum())

    def check(self, manifest: Manifest) -> None:
        numbering(manifest.label_sets)

    def localize(self, kept: Kept, ask: Ask) -> None:
        self.chosen["weight"] = choose_scale(self, kept, ask, grid_of(self.parameters.weight))

    def serve(self, kept: Kept, client: str) -> Served:
        own = kept[Grids()].values(client) if client in kept.members else None
        return Prior(TOTAL, own, self.chosen.get("weight", 0.0), self.parameters.smoothing)
