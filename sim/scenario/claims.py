"""What a scenario claims of its results: a short list of sentences, each with a rule that rows of a study decide.

A claim is a sentence (``says``), where it was published (``source``, ``published``) and one of four rules:

    order   ``above`` has more of the metric than each of ``below``, by more than ``by``
    trend   the metric of ``of`` rises, falls or stays from the first to the last value of an axis
    cross   ``of`` is below ``over`` at the first value of an axis and above it at the last
    ratio   the metric of ``of``, or its multiple of that of ``to``, lies within two bounds

Each is asked of the mean over seeds at every point of the sweep; ``where`` names values of axes that points must have. In
``where``, ``first`` and ``last`` stand for an axis' first and last value, so that a claim holds for other sizes as well, and
``mean`` for the mean over all its values.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from clients.strict import Strict

WORDS = ("first", "last", "mean")
PHASES = ("learn", "forget", "join")
SPLITS = ("held_in", "held_out", "forgotten", "unseen", "other_half")
METRICS = (
    *(f"accuracy.{of}_{when}" for of in SPLITS for when in ("before", "after")),
    "accuracy.stayed_before",
    *(f"{cost}.{phase}" for cost in ("gradient_steps", "parallel_steps", "evaluations", "seconds") for phase in PHASES),
    "members", "requests",
    "client_tunings", "client_tunings_forget", "bytes_up", "bytes_down", "storage_before", "storage_bytes",
    *(f"unlearning.{measure}" for measure in ("retained", "forgotten", "test", "mia", "auc", "gap")),
)  # fmt: skip
"""What a claim may be of: columns of a study's results. Numbers that a strategy has chosen or tells may be too."""
OWN = ("chosen.", "told.")
ACCURACY = "accuracy.held_in_after"
Where = dict[str, Any]


class Order(Strict):
    """One strategy above others, by more than ``by``; with a negative one, not below by more than that."""

    above: str
    below: tuple[str, ...] = Field(min_length=1)
    by: float = 0.0

    @field_validator("below", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @property
    def labels(self) -> tuple[str, ...]:
        return self.above, *self.below


class Trend(Strict):
    """How a strategy's metric goes along an axis. rises, falls: from the first value to the last, by more than ``by``;
    stays: no two values differ by more than ``by``."""

    of: str
    along: str
    goes: Literal["rises", "falls", "stays"]
    by: float = Field(0.0, ge=0)

    @property
    def labels(self) -> tuple[str, ...]:
        return (self.of,)


class Cross(Strict):
    """A strategy that is below another at the first value of an axis and above it at the last."""

    of: str
    over: str
    along: str

    @property
    def labels(self) -> tuple[str, ...]:
        return self.of, self.over


class Ratio(Strict):
    """A strategy's metric, or its multiple of another's (or of ``metric_to`` of the other), within two bounds."""

    of: str
    to: str | None = None
    metric_to: str | None = None
    within: tuple[float | None, float | None]

    @property
    def labels(self) -> tuple[str, ...]:
        return (self.of,) if self.to is None else (self.of, self.to)

    @field_validator("within")
    @classmethod
    def _in_order(cls, within: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
        low, high = within
        if low is None and high is None:
            raise ValueError("give at least one bound, as in [0.9, null]")
        if low is not None and high is not None and low > high:
            raise ValueError("the lower bound comes first")
        return within


Rule = Order | Trend | Cross | Ratio
RULES = ("order", "trend", "cross", "ratio")


class Claim(Strict):
    """A sentence about results, where it was published, and the rule that decides it."""

    says: str = Field(min_length=1)
    source: str = Field("", description="where it was published, as in 'ClAMU, Figure 2'")
    published: str = Field("", description="the numbers as published")
    metric: str = Field(ACCURACY, description="a column of the study's results")
    where: Where = Field(default_factory=dict, description="values of axes; or first, last or mean")
    order: Order | None = None
    trend: Trend | None = None
    cross: Cross | None = None
    ratio: Ratio | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> "Claim":
        given = [name for name in RULES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a claim has one rule, of {', '.join(RULES)}; this has {' and '.join(given) or 'none'}")
        return self

    @property
    def rule(self) -> Rule:
        return next(rule for name in RULES if (rule := getattr(self, name)) is not None)

    @property
    def along(self) -> str | None:
        """The axis that the rule goes along, if any."""
        return getattr(self.rule, "along", None)

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric, *filter(None, [getattr(self.rule, "metric_to", None)]))

    @property
    def timed(self) -> bool:
        """Whether seconds decide it, which are the machine's and of what else it does."""
        return any(metric.endswith("seconds") for metric in self.metrics)


def check(
    claims: Sequence[Claim], axes: Mapping[str, Sequence[Any]], labels: Sequence[str], measured: Sequence[str]
) -> None:
    """Whether a study of these axes and strategies can decide the claims.

    Args:
        claims: at least one.
        axes: of the sweep, key to values.
        measured: what the scenario's ``audit`` asks for.

    Raises:
        ValueError: a claim names a strategy, a metric, an axis or a value that there is not.
    """
    if not axes:
        raise ValueError("claims: they are decided by a study; add sweep: with at least one key and its values")
    for number, claim in enumerate(claims):
        place = f"claims.{number} ({claim.says})"
        _among(f"{place}: strategy", claim.rule.labels, labels)
        _among(f"{place}: metric", [metric for metric in claim.metrics if not metric.startswith(OWN)], METRICS)
        if "gap" not in measured and any(metric.startswith("unlearning.") for metric in claim.metrics):
            raise ValueError(f"{place}: metric {claim.metric}: it is measured where audit has gap")
        _among(f"{place}: axis", [*claim.where, *([claim.along] if claim.along else [])], list(axes))
        if claim.along in claim.where:
            raise ValueError(f"{place}: where: {claim.along} is the axis that the claim goes along")
        if claim.along and len(axes[claim.along]) < 2:
            raise ValueError(f"{place}: axis {claim.along}: a claim along it needs two values at least")
        for key, value in claim.where.items():
            if value not in WORDS and value not in axes[key]:
                known = ", ".join(map(str, axes[key]))
                raise ValueError(f"{place}: where: {key} has no value {value!r}; there are {known}, first, last and mean")


def _among(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{what} {name!r} is not there; there are {', '.join(known)}")
