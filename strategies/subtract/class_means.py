"""Class means: the label whose mean feature over all members is nearest, the cheapest additive model.

Serve anybody: argmin_y ‖φ(x) − S_y/n_y‖², S = Σ φ yᵀ and n = Σ y over all members, φ of the frozen model
(``clients.work.embedding``). Forget u: derive its sums again, in one pass over its data and no step, and subtract them.
Source: nearest class mean, as in FeCAM and RanPAC (NeurIPS 2023). Deviation: the sums are exact, so is the deletion.
"""

from typing import ClassVar

from clients.data.manifest import Manifest
from clients.work.head import numbering
from clients.work.served import BASE, ClassMeans, Served
from strategies.state.kept import Kept
from strategies.state.sum import TOTAL, Sum
from strategies.strategy import Deletion, Parameters, Strategy


class ClassMeansParameters(Parameters):
    """None."""


class NearestClassMean(Strategy[ClassMeansParameters]):
    deletion: ClassVar[Deletion] = "subtract"
    rule = "class_sums"
    parts = (Sum(),)

    def check(self, manifest: Manifest) -> None:
        numbering(manifest.label_sets)

    def serve(self, kept: Kept, client: str) -> Served:
        return ClassMeans(TOTAL) if kept.members else BASE
