"""Rules: what a client contributes to the sums, as a vector that can be derived again bit for bit.

Under the rules ``plain`` and ``sign_fixed`` it is a task vector, made by tuning (``tuning``); under ``label_counts``,
``class_sums`` and ``gram`` it is statistics of the frozen model's features (``statistics``). Any other deterministic
function of a shard, the base model and the settings can be a rule: a class with ``derive`` and a row in ``RULES``, or a
class outside the project that a scenario names as ``module:Class``.
"""

import re
from functools import lru_cache
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, WithJsonSchema

from clients import outside
from clients.data.dataset import Shard
from clients.errors import InputError
from clients.exact import bits
from clients.exact.grid import Grid
from clients.work import tuning
from clients.work.rule import Rule as Rule  # as those from outside name it
from clients.work.rule import most_of
from clients.work.site import Site
from clients.work.statistics import ClassSums, Gram, LabelCounts
from clients.work.tuning import Tuned


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
"""Those that tune."""
STATISTICS: dict[str, Rule] = {rule.name: rule for rule in (LabelCounts(), ClassSums(), Gram())}
"""Those that count, for heads in closed form."""


@lru_cache
def rule_of(name: str) -> Rule:
    """The rule of that name.

    Raises:
        InputError: there is none.
    """
    if outside.is_outside(name):
        found: Rule = outside.load_class(name, Rule)()
        return found
    if (relu := re.fullmatch(rf"{Gram.name}-([1-9]\d*)", name)) is not None:
        return Gram(int(relu[1]))
    return STATISTICS[name] if name in STATISTICS else _tuning(name)


def _tuning(name: str) -> Rule:
    if name not in RULES:
        raise InputError(f"there is no tuning rule {name!r}; there are {', '.join(RULES)}, or module:Class")
    return RULES[name]


def _known(name: str) -> str:
    """A rule that a strategy which merges task vectors may have."""
    rule_of(name) if outside.is_outside(name) else _tuning(name)
    return name


RuleName = Annotated[str, AfterValidator(_known), WithJsonSchema({"anyOf": [{"enum": list(RULES)}, {"pattern": ":"}]})]
"""A tuning rule by name: plain, sign_fixed, or ``module:Class``."""
