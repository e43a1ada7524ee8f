"""All strategies by the name that scenarios use: one row each."""

from typing import Any

from strategies.average import Average, AverageParameters
from strategies.clamu import Clamu, ClamuParameters
from strategies.local import Local, LocalParameters
from strategies.mask_only import MaskOnly, MaskOnlyParameters
from strategies.sift_masks import SiftMasks, SiftMasksParameters
from strategies.strategy import Parameters, Strategy
from strategies.zero_shot import ZeroShot, ZeroShotParameters

REGISTRY: dict[str, tuple[type[Strategy[Any]], type[Parameters]]] = {
    "zero_shot": (ZeroShot, ZeroShotParameters),
    "local": (Local, LocalParameters),
    "average": (Average, AverageParameters),
    "sift_masks": (SiftMasks, SiftMasksParameters),
    "mask_only": (MaskOnly, MaskOnlyParameters),
    "clamu": (Clamu, ClamuParameters),
}
