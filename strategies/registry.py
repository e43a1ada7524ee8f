"""All strategies by the name that scenarios use: one row each."""

from typing import Any

from strategies.apa import Apa, ApaParameters
from strategies.average import Average, AverageParameters
from strategies.breadcrumbs import Breadcrumbs, BreadcrumbsParameters
from strategies.central import Central, CentralParameters
from strategies.clamu import Clamu, ClamuParameters
from strategies.cluster_average import ClusterAverage, ClusterAverageParameters
from strategies.consensus import Consensus, ConsensusParameters
from strategies.dare import Dare, DareParameters
from strategies.emr import Emr, EmrParameters
from strategies.gradient_ascent import GradientAscent, GradientAscentParameters
from strategies.l1_sparse import L1Sparse, L1SparseParameters
from strategies.linear_negation import LinearNegation, LinearNegationParameters
from strategies.local import Local, LocalParameters
from strategies.magmax import MagMax, MagMaxParameters
from strategies.mask_only import MaskOnly, MaskOnlyParameters
from strategies.negmerge import NegMerge, NegMergeParameters
from strategies.salun import Salun, SalunParameters
from strategies.sift_masks import SiftMasks, SiftMasksParameters
from strategies.sisa import Sisa, SisaParameters
from strategies.strategy import Parameters, Strategy
from strategies.tall import Tall, TallParameters
from strategies.task_arithmetic import TaskArithmetic, TaskArithmeticParameters
from strategies.ties import Ties, TiesParameters
from strategies.vote_masks import VoteMasks, VoteMasksParameters
from strategies.zero_shot import ZeroShot, ZeroShotParameters

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
