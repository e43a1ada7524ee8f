"""What a strategy came to, in the few numbers that figures and sentences compare; and which no other is better than."""

from collections.abc import Sequence
from dataclasses import dataclass

from sim.report.summary import Accuracy, Summary
from strategies.registry import CEILING, FLOOR, PRIOR, RETRAINED

MEASURES = (FLOOR, PRIOR, CEILING, RETRAINED)
"""Strategies that others are measured by."""


@dataclass(frozen=True)
class Outcome:
    """A strategy at the end of a run, or of several seeds of it.

    Attributes:
        strategy: its name in the registry.
        accuracy: held-in, after the deletions; None where there is nobody.
        bounds: low and high end of its bar, if there were several seeds.
        storage: bytes.
        learn: gradient steps of learning.
        per_deletion: gradient steps per deletion; None where nobody was deleted.
        retraining: share of the steps of training again that its deletions took; None where nobody was deleted.
        above: low end of the 95 % interval of the difference to the label prior, if there is one.
        equal: whether its state is that of a rebuild, None where this was not checked.
    """

    label: str
    strategy: str
    exact: bool
    accuracy: float | None
    storage: float
    learn: float
    per_deletion: float | None
    bounds: tuple[float, float] | None = None
    retraining: float | None = None
    above: float | None = None
    equal: bool | None = None


def recovered(value: float | None, zero_shot: float | None, local: float | None) -> float | None:
    """(value − zero_shot) / (local − zero_shot); None where it is not defined."""
    if value is None or zero_shot is None or local is None or local == zero_shot:
        return None
    return (value - zero_shot) / (local - zero_shot)


def end(outcomes: Sequence[Outcome], strategy: str) -> Outcome | None:
    """The first outcome of a strategy; of several variants, that is the one that counts."""
    return next((each for each in outcomes if each.strategy == strategy), None)


def front(outcomes: Sequence[Outcome]) -> set[str]:
    """Labels of the outcomes that no other dominates in accuracy, storage and gradient steps per deletion.

    One dominates another if it is nowhere worse and somewhere better. An approximate strategy dominates no exact one, as it
    does not do what the exact one does. Without an accuracy there is no place in it.
    """
    known = [each for each in outcomes if each.accuracy is not None]
    return {one.label for one in known if not any(_dominates(other, one) for other in known)}


def _dominates(one: Outcome, other: Outcome) -> bool:
    if other.exact and not one.exact:
        return False
    pairs = list(zip(_losses(one), _losses(other), strict=True))
    return all(mine <= theirs for mine, theirs in pairs) and any(mine < theirs for mine, theirs in pairs)


def _losses(each: Outcome) -> tuple[float, float, float]:
    return -(each.accuracy or 0.0), each.storage, each.per_deletion or 0.0


def outcomes_of(summary: Summary, prefix: str = "") -> list[Outcome]:
    """The outcomes of a run, under its labels behind a prefix; bars are one standard deviation over its seeds."""
    again = summary.retrain[-1].gradient_steps if summary.retrain else 0.0
    return [
        Outcome(
            label=prefix + label,
            strategy=result.strategy,
            exact=result.exactness == "exact",
            accuracy=result.accuracy.held_in_after,
            storage=result.storage_bytes,
            learn=result.gradient_steps.learn,
            per_deletion=result.gradient_steps.forget / summary.requests if summary.requests else None,
            bounds=_bar(result.accuracy.held_in_after, summary.spread.get(label)),
            retraining=result.gradient_steps.forget / again if again else None,
            above=result.above_prior.low if result.above_prior else None,
            equal=result.bitwise_equal,
        )
        for label, result in summary.strategies.items()
    ]


def _bar(value: float | None, spread: Accuracy | None) -> tuple[float, float] | None:
    if value is None or spread is None or spread.held_in_after is None:
        return None
    return value - spread.held_in_after, value + spread.held_in_after
