"""What a rule is: how a client's vector follows from its shard. The rules there are stand in ``rules``."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from clients.data.dataset import Shard
from clients.settings import TuningSpec
from clients.work.site import Site
from clients.work.tuning import Tuned


class Rule(ABC):
    """How a client's vector follows from its shard.

    Attributes:
        name: as scenarios, recipes and folders have it.
    """

    name: ClassVar[str]

    @abstractmethod
    def derive(self, site: Site, shard: Shard) -> Tuned:
        """The client's vector, fp32 [size], the digest of its recipe, and what it took; the same bits every time."""

    def bounds(self, site: Site) -> tuple[int, ...]:
        """Where each tensor of the vector starts, then the end, which is its size; by default those of a task vector."""
        return site.model.layout.bounds

    def steps(self, spec: TuningSpec) -> int:
        """Gradient steps of deriving one vector."""
        return spec.steps

    def signs(self, seed: int, size: int) -> np.ndarray | None:
        """A vector of −1 and +1, fp32 [size], that no entry of anybody's vector goes against; None where there is none."""
        return None
