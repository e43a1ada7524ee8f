"""All strategies by the name that scenarios use: one row each."""

from typing import Any

from strategies.edit.gradient_ascent import GradientAscent, GradientAscentParameters
from strategies.edit.l1_sparse import L1Sparse, L1SparseParameters
from strategies.edit.linear_negation import LinearNegation, LinearNegationParameters
from strategies.edit.negmerge import NegMerge, NegMergeParameters
from strategies.edit.salun import Salun, SalunParameters
from strategies.erase.local import Local, LocalParameters
from strategies.erase.mask_only import MaskOnly, MaskOnlyParameters
from strategies.erase.zero_shot import ZeroShot, ZeroShotParameters
from strategies.rebuild.breadcrumbs import Breadcrumbs, BreadcrumbsParameters
from strategies.rebuild.consensus import Consensus, ConsensusParameters
from strategies.rebuild.emr import Emr, EmrParameters
from strategies.rebuild.magmax import MagMax, MagMaxParameters
from strategies.rebuild.tall import Tall, TallParameters
from strategies.rebuild.ties import Ties, TiesParameters
from strategies.relearn.clamu import Clamu, ClamuParameters
from strategies.retrain.apa import Apa, ApaParameters
from strategies.retrain.central import Central, CentralParameters
from strategies.retrain.sisa import Sisa, SisaParameters
from strategies.strategy import Parameters, Strategy
from strategies.subtract.average import Average, AverageParameters
from strategies.subtract.cluster_average import ClusterAverage, ClusterAverageParameters
from strategies.subtract.dare import Dare, DareParameters
from strategies.subtract.sift_masks import SiftMasks, SiftMasksParameters
from strategies.subtract.task_arithmetic import TaskArithmetic, TaskArithmeticParameters
from strategies.subtract.vote_masks import VoteMasks, VoteMasksParameters

REGISTRY: dict[str, tuple[type[Strategy[Any]], type[Parameters]]] = {
    "zero_shot": (ZeroShot, ZeroShotParameters),
    "local": (Local, LocalParameters),
    "average": (Average, AverageParameters),
    "task_arithmetic": (TaskArithmetic, TaskArithmeticParameters),
    "cluster_average": (ClusterAverage, ClusterAverageParameters),
    "dare": (Dare, DareParameters),
    "ties": (Ties, TiesParameters),
    "magmax": (MagMax, MagMaxParameters),
    "breadcrumbs": (Breadcrumbs, BreadcrumbsParameters),
    "consensus": (Consensus, ConsensusParameters),
    "tall": (Tall, TallParameters),
    "emr": (Emr, EmrParameters),
    "sift_masks": (SiftMasks, SiftMasksParameters),
    "mask_only": (MaskOnly, MaskOnlyParameters),
    "vote_masks": (VoteMasks, VoteMasksParameters),
    "clamu": (Clamu, ClamuParameters),
    "central": (Central, CentralParameters),
    "sisa": (Sisa, SisaParameters),
    "apa": (Apa, ApaParameters),
    "negmerge": (NegMerge, NegMergeParameters),
    "linear_negation": (LinearNegation, LinearNegationParameters),
    "gradient_ascent": (GradientAscent, GradientAscentParameters),
    "salun": (Salun, SalunParameters),
    "l1_sparse": (L1Sparse, L1SparseParameters),
}
