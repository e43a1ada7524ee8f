"""Verdicts: what a scenario claims, decided by the rows of a study's results.

All is of means over seeds. Where a difference that decides is smaller than its standard deviation over seeds, the verdict
stands, and its words say so. A verdict is None where a value that it needs was not measured.
"""

import itertools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sim.scenario.claims import Claim, Cross, Order, Ratio, Trend

Row = Mapping[str, Any]
Point = tuple[Any, ...]
"""Values of the axes, in their order."""


MEAN = "mean"
WORDS = {True: "holds", False: "does not hold", None: "not measured"}


class Found(NamedTuple):
    """Whether a rule holds at some point, and the numbers in words."""

    holds: bool | None
    words: str


class Table(NamedTuple):
    """Values by label, point and seed, of one metric.

    Attributes:
        axes: key to values, in the order of the sweep.
        rows: of the study's results.
    """

    axes: Mapping[str, Sequence[Any]]
    rows: Sequence[Row]

    def values(self, label: str, metric: str, point: Point) -> dict[int, float]:
        """By seed, where measured; with a mean over an axis, where measured at all of its values."""
        if MEAN in point:
            place = point.index(MEAN)
            each = [self.values(label, metric, other) for other in _along(self, list(self.axes)[place], point)]
            seeds = set.intersection(*(set(found) for found in each))
            return {seed: statistics.fmean(found[seed] for found in each) for seed in sorted(seeds)}
        return {
            row["seed"]: float(row[metric])
            for row in self.rows
            if row["label"] == label and isinstance(row.get(metric), int | float) and not math.isnan(row[metric])
            if all(same(row.get(key), value) for key, value in zip(self.axes, point, strict=True))
        }

    def mean(self, label: str, metric: str, point: Point) -> float | None:
        found = self.values(label, metric, point)
        return statistics.fmean(found.values()) if found else None


def verdicts(claims: Sequence[Claim], axes: Mapping[str, Sequence[Any]], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One verdict per claim, as it stands in ``study.json``.

    Args:
        axes: of the sweep, key to values in their order.
        rows: of ``results.parquet``: ``seed``, ``label``, a column per axis and one per metric.
    """
    return [verdict(claim, axes, rows) for claim in claims]


def verdict(claim: Claim, axes: Mapping[str, Sequence[Any]], rows: Sequence[Row]) -> dict[str, Any]:
    """What the rows say to one claim: it holds where it holds at every point that it is about."""
    table = Table(axes, rows)
    found = [(point, _decided(claim, table, point)) for point in points(claim, axes)]
    told = [f"{_place(claim, axes, point)}{each.words}" for point, each in found]
    states = {each.holds for _, each in found}
    holds = None if not found else False if False in states else None if None in states else True
    return {
        "claim": claim.says,
        "source": claim.source,
        "holds": holds,
        "why": "; ".join(told) or "no point of the study has these values",
        "timed": claim.timed,
        "published": claim.published,
    }


def in_words(verdict: Mapping[str, Any]) -> str:
    """A verdict as a line: whether it holds, the claim and the numbers."""
    return f"{WORDS[verdict['holds']]}: {verdict['claim']} {verdict['why']}"


def points(claim: Claim, axes: Mapping[str, Sequence[Any]]) -> list[Point]:
    """The points that a claim is about; the axis that it goes along has its first value in them."""
    choices: list[Sequence[Any]] = []
    for key, values in axes.items():
        asked = claim.where.get(key)
        if key == claim.along or asked == "first":
            choices.append(values[:1])
        elif asked == "last":
            choices.append(values[-1:])
        elif asked == MEAN:
            choices.append([MEAN])
        else:
            choices.append([value for value in values if key not in claim.where or value == asked])
    return list(itertools.product(*choices))


def same(told: Any, asked: Any) -> bool:
    """Whether a row's value of an axis is one of the sweep's, which may be no scalar and then has its JSON text."""
    if isinstance(asked, dict | list | tuple) and isinstance(told, str):
        return bool(json.loads(told) == json.loads(json.dumps(asked)))
    return bool(told == asked)


def _decided(claim: Claim, table: Table, point: Point) -> Found:
    rule = claim.rule
    if isinstance(rule, Order):
        return _order(claim.metric, rule, table, point)
    if isinstance(rule, Trend):
        return _trend(claim.metric, rule, table, point)
    if isinstance(rule, Cross):
        return _cross(claim.metric, rule, table, point)
    return _ratio(claim.metric, rule, table, point)


def _order(metric: str, rule: Order, table: Table, point: Point) -> Found:
    first = table.values(rule.above, metric, point)
    parts, holds = [], []
    for label in rule.below:
        other = table.values(label, metric, point)
        if not first or not other:
            return _missing(rule.above if not first else label, metric)
        difference = statistics.fmean(first.values()) - statistics.fmean(other.values())
        holds.append(difference > rule.by)
        parts.append(f"{label} {_number(statistics.fmean(other.values()))}{_unsure(first, other)}")
    return Found(all(holds), f"{rule.above} {_number(statistics.fmean(first.values()))} against {', '.join(parts)}")


def _trend(metric: str, rule: Trend, table: Table, point: Point) -> Found:
    line = _along(table, rule.along, point)
    values = [table.values(rule.of, metric, each) for each in line]
    if (gap := next((index for index, found in enumerate(values) if not found), None)) is not None:
        return _missing(f"{rule.of} at {_value(rule.along, table.axes[rule.along][gap], table.axes[rule.along])}", metric)
    means = [statistics.fmean(found.values()) for found in values]
    change = means[-1] - means[0]
    holds = {"rises": change > rule.by, "falls": -change > rule.by, "stays": max(means) - min(means) <= rule.by}
    unsure = "" if rule.goes == "stays" else _unsure(values[0], values[-1])
    return Found(holds[rule.goes], f"{rule.of} {_curve(table, rule.along, means)}{unsure}")


def _cross(metric: str, rule: Cross, table: Table, point: Point) -> Found:
    line, keys = _along(table, rule.along, point), table.axes[rule.along]
    one, two = ([table.mean(label, metric, each) for each in line] for label in (rule.of, rule.over))
    lower, upper = [v for v in one if v is not None], [v for v in two if v is not None]
    if len(lower) < len(line) or len(upper) < len(line):
        return _missing(rule.of if len(lower) < len(line) else rule.over, metric)
    differences = [a - b for a, b in zip(lower, upper, strict=True)]
    words = f"{rule.of} {_curve(table, rule.along, lower)} against {rule.over} {_curve(table, rule.along, upper)}"
    if not (differences[0] < 0 < differences[-1]):
        return Found(False, words)
    after = max(index for index, difference in enumerate(differences) if difference <= 0)
    return Found(True, f"{words}; above from {_value(rule.along, keys[after + 1], keys)} on")


def _ratio(metric: str, rule: Ratio, table: Table, point: Point) -> Found:
    value = table.mean(rule.of, metric, point)
    other = 1.0 if rule.to is None else table.mean(rule.to, rule.metric_to or metric, point)
    if value is None or other is None:
        return _missing(rule.of if value is None else str(rule.to), metric)
    if other == 0:
        return Found(None, f"{rule.to} has 0, which nothing is a multiple of")
    low, high = rule.within
    ratio = value / other
    holds = (low is None or ratio >= low) and (high is None or ratio <= high)
    if rule.to is None:
        return Found(holds, f"{rule.of} {_number(value)}")
    whose = f"{rule.to}'s {rule.metric_to.rpartition('.')[2]}" if rule.metric_to else rule.to
    return Found(holds, f"{rule.of} {_number(value)} against {whose} {_number(other)}, {_number(ratio)} times")


def _along(table: Table, axis: str, point: Point) -> list[Point]:
    """The point at every value of an axis."""
    place = list(table.axes).index(axis)
    return [(*point[:place], value, *point[place + 1 :]) for value in table.axes[axis]]


def _unsure(one: Mapping[int, float], two: Mapping[int, float]) -> str:
    """A remark, where the mean difference of two is smaller than its standard deviation over seeds."""
    differences = [one[seed] - two[seed] for seed in one if seed in two]
    if len(differences) < 2:
        return ""
    return " (within the seeds' spread)" if abs(statistics.fmean(differences)) < statistics.stdev(differences) else ""


def _missing(who: str, metric: str) -> Found:
    return Found(None, f"{who} has no {metric}")


def _place(claim: Claim, axes: Mapping[str, Sequence[Any]], point: Point) -> str:
    """Where a finding is of, but for axes of one value and the one that the claim goes along."""
    told = [
        _value(key, value, values) for (key, values), value in zip(axes.items(), point, strict=True)
        if key != claim.along and len(values) > 1
    ]  # fmt: skip
    return f"{', '.join(told)}: " if told else ""


def _curve(table: Table, axis: str, means: Sequence[float]) -> str:
    line = " → ".join(f"{_number(mean)}" for mean in means)
    return f"{line} (at {axis.rpartition('.')[2]} {', '.join(short(table.axes[axis]))})"


def _value(key: str, value: Any, values: Sequence[Any]) -> str:
    name = key.rpartition(".")[2]
    return f"mean over {name}" if value == MEAN else f"{name} {short(values)[list(values).index(value)]}"


def short(values: Sequence[Any]) -> list[str]:
    """Each value of an axis in few words: of mappings the first key that tells all of them apart, of a list its ends."""
    if all(isinstance(value, dict) for value in values):
        for key in values[0]:
            texts = [json.dumps(value.get(key), sort_keys=True) for value in values]
            if len(set(texts)) == len(values) > 1 or len(values[0]) == 1:
                return short([value.get(key) for value in values])
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple) and value:
        return f"{value[0]} … {value[-1]}" if len(value) > 1 else str(value[0])
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    """Whole numbers from 100 on, else three digits behind the point; less than a thousandth as it is."""
    if abs(value) >= 100 or (value == int(value) and abs(value) != 1):
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.2g}"
