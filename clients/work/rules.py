"""Rules: what a client contributes to the sums, as a vector that can be derived again bit for bit.

Under the rules ``plain`` and ``sign_fixed`` it is a task vector, made by tuning (``tuning``). Any other deterministic
function of a shard, the base model and the settings can be a rule: a class with ``derive`` and a row in ``RULES``, or a
class outside the project that a scenario names as ``module:Class``.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, WithJsonSchema

from clients import outside
from clients.data.dataset import Shard
from clients.errors import InputError
from clients.exact import bits
from clients.exact.grid import FINE, MOST_VECTORS, Grid
from clients.settings import TuningSpec
from clients.work import tuning
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


class Tuning(Rule):
    """Rules whose vectors Adam makes: the grid follows from how far it can go."""

    def grid(self, site: Site) -> Grid:
        return tuning.grid_of(site.settings.tuning, most_of(site))


class Plain(Tuning):
    """Adam on the client's shard."""

    name = "plain"

    def derive(self, site: Site, shard: Shard) -> Tuned:
        return tuning.tune(site.model, shard, self.name, site.settings.tuning, site.settings.seed)


class SignFixed(Tuning):
    """The same, with every entry held on the side of θ0 that a shared random sign vector says."""

    name = "sign_fixed"

    def derive(self, site: Site, shard: Shard) -> Tuned:
        signs = self.signs(site.settings.seed, site.model.layout.size)
        return tuning.tune(site.model, shard, self.name, site.settings.tuning, site.settings.seed, signs)

    def signs(self, seed: int, size: int) -> np.ndarray:
        return bits.sign_vector(seed, size)


RULES: dict[str, Rule] = {rule.name: rule for rule in (Plain(), SignFixed())}


@lru_cache
def rule_of(name: str) -> Rule:
    """The rule of that name.

    Raises:
        InputError: there is none.
    """
    if outside.is_outside(name):
        found: Rule = outside.load_class(name, Rule)()
        return found
    if name not in RULES:
        raise InputError(f"there is no tuning rule {name!r}; there are {', '.join(RULES)}, or module:Class")
    return RULES[name]


def _known(name: str) -> str:
    rule_of(name)
    return name


RuleName = Annotated[str, AfterValidator(_known), WithJsonSchema({"anyOf": [{"enum": list(RULES)}, {"pattern": ":"}]})]
"""A rule by name: plain, sign_fixed, or ``module:Class``."""
