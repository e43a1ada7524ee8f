"""A scaling study: a scenario whose sweep has the axis of how many clients join."""

from clients.errors import InputError
from sim.scenario.file import Asked
from sim.study.compare import chosen_strategies
from sim.study.sweep import CLIENTS


def scaled(asked: Asked, clients: str, seeds: str | None = None, strategies: str | None = None) -> Asked:
    """A scenario as it was asked for, with this axis beside those that its sweep has.

    Args:
        clients, seeds: whole numbers, with commas between them.
        strategies: labels of the scenario's strategies, or names, likewise.

    Raises:
        InputError: one of them is none.
    """
    found = asked.copied()
    found.values.pop("claims", None)  # of the scenario's own axes and strategies
    found.put(f"sweep.{CLIENTS}", _numbers("--clients", clients), f"--clients {clients}")
    if seeds is not None:
        found.put("seeds", _numbers("--seeds", seeds), f"--seeds {seeds}")
    if strategies is not None:
        chosen = chosen_strategies(asked.scenario(), [name.strip() for name in strategies.split(",")])
        found.put("strategies", [spec.model_dump(mode="json") for spec in chosen], f"--strategies {strategies}")
    return found


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text}: give whole numbers with commas between them, as in 2,5,10") from error
