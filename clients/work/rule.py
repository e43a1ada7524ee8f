"""What a rule is: how a client's vector follows from its shard. The rules there are stand in ``rules``."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import numpy as np

from clients.data.dataset import Shard
from clients.exact.grid import FINE, MOST_VECTORS, Grid
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

    def grid(self, site: Site) -> Grid:
        """The grid that vectors are summed on; by default one of steps of 2^-32, for entries below 2^15."""
        return replace(FINE, most=min(most_of(site), MOST_VECTORS))

    def signs(self, seed: int, size: int) -> np.ndarray | None:
        """A vector of −1 and +1, fp32 [size], that no entry of anybody's vector goes against; None where there is none."""
        return None


def most_of(site: Site) -> int:
    """How many clients may ever take part, at least one."""
    return max(1, len(site.manifest.clients))
