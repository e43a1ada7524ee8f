"""Comparing strategies on a scenario: another list of strategies, and a table that is sorted by what they are worth.

The recovered share of a strategy is rec = (x − zero_shot) / (local − zero_shot), x its held-in accuracy after the deletions.
Both ends are put in where the list lacks them, and the scenario's own retrained model where the gap to it is asked for.
Clients are tuned once per rule however many strategies there are; prices are those of each strategy alone
(``learning``).
"""

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from rich import box
from rich.table import Table
from rich.text import Text

from clients.errors import InputError
from sim.report.report import StrategyResult, Summary
from sim.scenario.model import Scenario, StrategySpec
from sim.terminal import NONE, human_bytes
from strategies.registry import CEILING, FLOOR, PRIOR, REGISTRY, RETRAINED

ENDS = (FLOOR, CEILING)
WIDE = 95  # columns of a terminal that holds the whole table; a narrower one goes without held-out accuracy
COLUMNS = {
    "strategy": "strategy",
    "exact": "exact?\nrule",
    "held_in": "held-in\nafter",
    "rec": "recovered\nshare",
    "held_out": "held-out\nafter",
    "steps": "gradient steps\nlearn / forget",
    "storage": "storage",
}
LEFT = ("strategy", "exact")


def with_strategies(scenario: Scenario, names: Sequence[str], labelled: bool = False) -> Scenario:
    """The scenario with other strategies, with both ends of the recovered share, and on labelled data with the label prior.

    Args:
        names: labels of the scenario's own strategies, which keep their parameters, or names of the registry.

    Raises:
        InputError: a name is neither, or is there twice.
    """
    chosen = chosen_strategies(scenario, names)
    floors = (*ENDS, PRIOR) if labelled else ENDS
    missing = [StrategySpec.model_validate(end) for end in floors if end not in {spec.strategy for spec in chosen}]
    if "gap" in scenario.audit and RETRAINED not in {spec.strategy for spec in chosen}:
        missing += [next(spec for spec in scenario.strategies if spec.strategy == RETRAINED)]
    specs = [spec.model_dump(mode="json") for spec in [*missing, *chosen]]
    try:
        return Scenario.model_validate(
            scenario.model_dump(mode="json") | {"name": f"{scenario.name}-compare", "strategies": specs}
        )
    except ValidationError as error:
        text = "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())
        raise InputError(f"--strategies {','.join(names)}: {text}") from error


def chosen_strategies(scenario: Scenario, names: Sequence[str]) -> list[StrategySpec]:
    """Strategies by label of the scenario, with its parameters, or by name; InputError if one is neither."""
    own = {spec.label: spec for spec in scenario.strategies}
    known = list(dict.fromkeys([*own, *REGISTRY]))
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"
            raise InputError(f"--strategies {name}: neither a label of the scenario nor a strategy{hint}")
    return [own[name] if name in own else StrategySpec.model_validate(name) for name in names]


def recovered(value: float | None, zero_shot: float | None, local: float | None) -> float | None:
    """(value − zero_shot) / (local − zero_shot); None where it is not defined."""
    if value is None or zero_shot is None or local is None or local == zero_shot:
        return None
    return (value - zero_shot) / (local - zero_shot)


def shares(summary: Summary) -> dict[str, float | None]:
    """The recovered share of each strategy, by label. Of several at an end, the first counts."""
    after = {label: result.accuracy.held_in_after for label, result in summary.strategies.items()}
    zero, local = (
        next(after[label] for label, result in summary.strategies.items() if result.strategy == end) for end in ENDS
    )
    return {label: recovered(value, zero, local) for label, value in after.items()}


def ranked(summary: Summary) -> list[str]:
    """Labels by held-in accuracy after the deletions, best first; of equals, the cheaper to forget, then the smaller."""

    def key(label: str) -> tuple[Any, ...]:
        result = summary.strategies[label]
        value = result.accuracy.held_in_after
        return value is None, -(value or 0.0), result.gradient_steps.forget, result.storage_bytes, label

    return sorted(summary.strategies, key=key)


def table(content: dict[str, Any], width: int) -> Table:
    """The comparison for a terminal of ``width`` columns; ``content`` is that of ``summary.json``."""
    summary = Summary.model_validate(content)
    rec = shares(summary)
    title = f"{summary.name}: {summary.requests} of {summary.clients} clients deleted, {summary.metric.replace('_', ' ')}"
    made = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    columns = {key: heading for key, heading in COLUMNS.items() if width >= WIDE or key != "held_out"}
    for key, heading in columns.items():
        made.add_column(Text(heading), justify="left" if key in LEFT else "right", overflow="fold")
    for label in ranked(summary):
        cells = _cells(label, summary.strategies[label], rec[label])
        made.add_row(*(Text(cells[key]) for key in columns))
    return made


def _cells(label: str, result: StrategyResult, rec: float | None) -> dict[str, str]:
    steps, accuracy = result.gradient_steps, result.accuracy
    return {
        "strategy": label,
        "exact": f"{'yes' if result.exactness == 'exact' else 'NO'} {result.deletion}",
        "held_in": NONE if accuracy.held_in_after is None else f"{accuracy.held_in_after:.3f}",
        "rec": NONE if rec is None else f"{100 * rec:.0f} %",
        "held_out": NONE if accuracy.held_out_after is None else f"{accuracy.held_out_after:.3f}",
        "steps": f"{steps.learn:,.0f} / {steps.forget:,.0f}",
        "storage": human_bytes(result.storage_bytes),
    }
