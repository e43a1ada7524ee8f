"""All strategies by the name that scenarios use: one row each. Others are named ``module:Class``."""

from typing import Any

from clients import outside
from clients.errors import InputError
from strategies.edit.gradient_ascent import GradientAscent
from strategies.edit.l1_sparse import L1Sparse
from strategies.edit.linear_negation import LinearNegation
from strategies.edit.negmerge import NegMerge
from strategies.edit.salun import Salun
from strategies.erase.label_prior import LabelPrior
from strategies.erase.local import Local
from strategies.erase.mask_only import MaskOnly
from strategies.erase.ridge_own import RidgeOwn
from strategies.erase.zero_shot import ZeroShot
from strategies.rebuild.breadcrumbs import Breadcrumbs
from strategies.rebuild.consensus import Consensus
from strategies.rebuild.emr import Emr
from strategies.rebuild.magmax import MagMax
from strategies.rebuild.tall import Tall
from strategies.rebuild.ties import Ties
from strategies.relearn.clamu import Clamu
from strategies.retrain.apa import Apa
from strategies.retrain.central import Central
from strategies.retrain.s3t import S3t
from strategies.retrain.sisa import Sisa
from strategies.strategy import Strategy
from strategies.subtract.average import Average
from strategies.subtract.class_means import NearestClassMean
from strategies.subtract.cluster_average import ClusterAverage
from strategies.subtract.dare import Dare
from strategies.subtract.ridge import Ridge
from strategies.subtract.sift_masks import SiftMasks
from strategies.subtract.task_arithmetic import TaskArithmetic
from strategies.subtract.vote_masks import VoteMasks

REGISTRY: dict[str, type[Strategy[Any]]] = {
    "zero_shot": ZeroShot,
    "label_prior": LabelPrior,
    "local": Local,
    "average": Average,
    "task_arithmetic": TaskArithmetic,
    "cluster_average": ClusterAverage,
    "dare": Dare,
    "ties": Ties,
    "magmax": MagMax,
    "breadcrumbs": Breadcrumbs,
    "consensus": Consensus,
    "tall": Tall,
    "emr": Emr,
    "sift_masks": SiftMasks,
    "mask_only": MaskOnly,
    "vote_masks": VoteMasks,
    "clamu": Clamu,
    "class_means": NearestClassMean,
    "ridge": Ridge,
    "ridge_own": RidgeOwn,
    "central": Central,
    "sisa": Sisa,
    "s3t": S3t,
    "apa": Apa,
    "negmerge": NegMerge,
    "linear_negation": LinearNegation,
    "gradient_ascent": GradientAscent,
    "salun": Salun,
    "l1_sparse": L1Sparse,
}

DEFAULT = ("zero_shot", "local", "average", "sift_masks")
"""What a scenario compares that names no strategies."""
FLOOR, CEILING = "zero_shot", "local"
"""Both ends of the recovered share: nothing is learned, and nothing is shared."""
PRIOR = "label_prior"
"""The floor of what knows who asks: what is not clearly above it has learned little more than who posts what."""
RETRAINED = "central"
"""What approximate strategies are compared with: one model, trained again without the forgotten."""


def strategy_of(name: str) -> type[Strategy[Any]]:
    """The strategy of that name.

    Raises:
        InputError: there is none.
    """
    if outside.is_outside(name):
        return outside.load_class(name, Strategy)
    if name not in REGISTRY:
        raise InputError(f"there is no strategy {name!r}; there are {', '.join(REGISTRY)}, or module:Class")
    return REGISTRY[name]
