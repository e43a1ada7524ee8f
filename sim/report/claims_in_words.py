"""Results in words: what a reader wants to know first, as sentences that follow from the numbers."""

from collections.abc import Callable, Sequence
from itertools import groupby

from sim.report.outcome import MEASURES, Outcome, end, recovered
from strategies.registry import CEILING, FLOOR, PRIOR

NEARLY = 0.9
"""Whoever recovers this share of what the best one does, at less storage, is named beside it."""
NAMED = 6
"""Labels that a sentence names; of others it tells how many there are."""


def sentences(outcomes: Sequence[Outcome]) -> list[str]:
    """What a run came to: what is recovered at which storage, what deletions take, and what is wrong with whom."""
    return [*_worth(outcomes), *_steps(outcomes), *_prior(outcomes), *_exactness(outcomes)]


def along(axis: str, points: Sequence[tuple[float, Sequence[Outcome]]]) -> list[str]:
    """What a study shows along an axis: who is ahead where, who loses most, and what grows.

    Args:
        points: value on the axis and outcomes there, in increasing order, at least two.
    """
    (low, first), (high, last) = points[0], points[-1]
    return [*_ahead(axis, points), *_moved(axis, low, high, first, last), *_grown(axis, low, high, first, last)]


def held(verdicts: Sequence[bool | None]) -> list[str]:
    """How many of a study's claims hold."""
    if not verdicts:
        return []
    open_ = verdicts.count(None)
    decided = f"{verdicts.count(True)} of {len(verdicts)} {'claim holds' if len(verdicts) == 1 else 'claims hold'}"
    return [f"{decided}{f'; {open_} could not be decided' if open_ else ''}."]


def _worth(outcomes: Sequence[Outcome]) -> list[str]:
    told = _candidates(outcomes)
    if not told:
        return []
    best = max(told, key=_rank)
    floor, ceiling = end(outcomes, FLOOR), end(outcomes, CEILING)
    if floor is None or ceiling is None or floor.accuracy is None or ceiling.accuracy is None:
        return [f"{best.label} is the most accurate of the exact strategies, at {best.accuracy:.3f}."]
    if ceiling.accuracy <= floor.accuracy:
        return [
            f"{ceiling.label} ({ceiling.accuracy:.3f}) is no better than {floor.label} ({floor.accuracy:.3f}): there is "
            f"nothing to recover. The most accurate of the exact strategies is {best.label}, at {best.accuracy:.3f}."
        ]
    shares = {each.label: recovered(each.accuracy, floor.accuracy, ceiling.accuracy) or 0.0 for each in told}
    if shares[best.label] <= 0:
        return [
            f"No exact strategy is better than {floor.label} ({floor.accuracy:.3f}); the best is {best.label}, "
            f"at {best.accuracy:.3f}."
        ]
    near = [each for each in told if shares[each.label] >= NEARLY * shares[best.label]]
    small = min(near, key=lambda each: (each.storage, *(-value for value in _rank(each))))
    named = [best, *([small] if small.storage < best.storage else [])]
    return [
        f"{each.label} recovers {_percent(shares[each.label])} of {ceiling.label}{_at(each.storage, ceiling.storage)}."
        for each in named
    ] + [
        f"A deletion from {each.label} takes {_count(each.per_deletion)} gradient steps{_again(each)}."
        for each in named
        if each.per_deletion
    ]


def _steps(outcomes: Sequence[Outcome]) -> list[str]:
    learned = [each for each in outcomes if each.strategy not in (FLOOR, PRIOR)]
    none = [each.label for each in learned if not each.learn and not each.per_deletion]
    later = [each.label for each in learned if each.learn and each.per_deletion == 0]
    lines = [f"{_list(none)} {_need(none)} no gradient step."] if none else []
    return lines + ([f"{_list(later)} {_need(later)} no gradient step to forget."] if later else [])


def _prior(outcomes: Sequence[Outcome]) -> list[str]:
    prior = end(outcomes, PRIOR)
    below = [
        each.label for each in outcomes if each.above is not None and each.above <= 0 and each.strategy not in (FLOOR, PRIOR)
    ]
    if prior is None or not below:
        return []
    return [f"{_list(below)} {_are(below)} not clearly above {prior.label}."]


def _exactness(outcomes: Sequence[Outcome]) -> list[str]:
    checked = [each for each in outcomes if each.exact and each.equal is not None]
    wrong = [each.label for each in checked if not each.equal]
    loose = [each.label for each in outcomes if not each.exact]
    lines = [f"{_list(wrong)} {_are(wrong)} DIFFERENT from a rebuild without the forgotten."] if wrong else []
    if checked and not wrong:
        which = "The exact state" if len(checked) == 1 else f"All {len(checked)} exact states"
        lines = [f"{which} that {_were(checked)} rebuilt without the forgotten {_are(checked)} equal, bit for bit."]
    return lines + ([f"{_list(loose)} {_are(loose)} approximate: no deletion is exact there."] if loose else [])


def _ahead(axis: str, points: Sequence[tuple[float, Sequence[Outcome]]]) -> list[str]:
    winners = [(value, max(told, key=_rank).label) for value, outcomes in points if (told := _candidates(outcomes))]
    spans = [(label, [value for value, _ in some]) for label, some in groupby(winners, key=lambda each: each[1])]
    if not spans:
        return []
    if len(spans) == 1:
        return [f"{spans[0][0]} is the most accurate exact strategy at every value of {axis}."]
    parts = [f"{label} at {_span(values)}" for label, values in spans]
    return [f"The most accurate exact strategy along {axis}: {', '.join(parts)}."]


def _moved(axis: str, low: float, high: float, first: Sequence[Outcome], last: Sequence[Outcome]) -> list[str]:
    before = {each.label: each.accuracy for each in _candidates(first)}
    moved = {
        each.label: each.accuracy - was
        for each in _candidates(last)
        if each.accuracy is not None and (was := before.get(each.label)) is not None
    }
    if len(moved) < 2:
        return []
    worst, best = min(moved, key=lambda label: moved[label]), max(moved, key=lambda label: moved[label])
    return [
        f"From {axis} {_count(low)} to {_count(high)}, accuracy changes by {_signed(moved[worst])} ({worst}) to "
        f"{_signed(moved[best])} ({best})."
    ]


def _grown(axis: str, low: float, high: float, first: Sequence[Outcome], last: Sequence[Outcome]) -> list[str]:
    lines = []
    measures: tuple[tuple[str, Callable[[Outcome], float | None]], ...] = (
        ("storage", lambda each: each.storage),
        ("the price of a deletion", lambda each: each.per_deletion),
    )
    for what, of in measures:
        before = {each.label: of(each) for each in first}
        growth = {
            each.label: now / was
            for each in last
            if each.strategy not in MEASURES and (was := before.get(each.label)) and (now := of(each)) is not None
        }
        if not growth:
            continue
        most, least = max(growth, key=lambda label: growth[label]), min(growth, key=lambda label: growth[label])
        if growth[most] < 1.05:
            lines.append(f"From {axis} {_count(low)} to {_count(high)}, {what} grows for none.")
        elif most != least:
            lines.append(
                f"From {axis} {_count(low)} to {_count(high)}, {what} grows most for {most}, {_fold(growth[most])}, "
                f"and least for {least}, {_fold(growth[least])}."
            )
    return lines


def _candidates(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [each for each in outcomes if each.exact and each.strategy not in MEASURES and each.accuracy is not None]


def _rank(each: Outcome) -> tuple[float, float, float]:
    """The more accurate first, of equals the smaller, then the cheaper to forget."""
    return each.accuracy or 0.0, -each.storage, -(each.per_deletion or 0.0)


def _at(storage: float, ceiling: float) -> str:
    if not ceiling:
        return ""
    share = storage / ceiling
    return f" at {share:.1f} times its storage" if share >= 2 else f" at {_percent(share)} of its storage"


def _again(each: Outcome) -> str:
    return "" if each.retraining is None else f", {_percent(each.retraining)} of training again"


def _percent(share: float) -> str:
    return "less than 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _count(value: float | None) -> str:
    return f"{value:,.0f}" if value is not None and (value >= 100 or value == int(value)) else f"{value:.3g}"


def _fold(growth: float) -> str:
    if growth < 1.05:
        return "not at all"
    return f"to {growth:,.0f} times" if growth >= 10 else f"to {growth:.2g} times"


def _signed(change: float) -> str:
    return f"{change:+.3f}".replace("-", "\N{MINUS SIGN}")


def _span(values: Sequence[float]) -> str:
    return _count(values[0]) if len(values) == 1 else f"{_count(values[0])} to {_count(values[-1])}"


def _list(labels: Sequence[str]) -> str:
    """``a, b and c``; of many the first ones, and how many more."""
    if len(labels) > NAMED:
        return f"{', '.join(labels[: NAMED - 1])} and {len(labels) - NAMED + 1} more"
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def _need(some: Sequence[object]) -> str:
    return "needs" if len(some) == 1 else "need"


def _are(some: Sequence[object]) -> str:
    return "is" if len(some) == 1 else "are"


def _were(some: Sequence[object]) -> str:
    return "was" if len(some) == 1 else "were"
