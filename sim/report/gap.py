"""The report's table of the gap to retraining (``sim.attacks.gap``): for the terminal, and as rows of the page."""

from typing import Any

from pydantic import BaseModel, TypeAdapter
from rich import box
from rich.table import Table
from rich.text import Text

from sim.terminal import NONE
from strategies.registry import RETRAINED

COLUMNS = {
    "strategy": "strategy",
    "retained": "accuracy\nretained",
    "forgotten": "accuracy\nforgotten",
    "test": "accuracy\ntest",
    "mia": "MIA\nefficacy",
    "auc": "MIA\nAUC",
    "gap": "average\ngap",
}


class Unlearning(BaseModel):
    """Measures of one strategy, or their spread over seeds."""

    retained: float | None
    forgotten: float | None
    test: float | None
    mia: float | None
    auc: float | None
    gap: float | None


def cells(label: str, mine: Unlearning, spread: Unlearning | None) -> dict[str, str]:
    """The row of a strategy, by column."""
    values = {key: (getattr(mine, key), getattr(spread, key, None)) for key in COLUMNS if key != "strategy"}
    return {"strategy": label} | {key: _shown(*pair) for key, pair in values.items()}


def table(content: dict[str, Any]) -> Table | None:
    """The table for the terminal; ``content`` is that of ``summary.json``. None where the gap was not asked for."""
    results = _read(content.get("unlearning", {}))
    if not results:
        return None
    spread = _read(content.get("unlearning_spread", {}))
    reference = next(label for label, told in content["strategies"].items() if told["strategy"] == RETRAINED)
    title = (
        f"{content['name']}: {content['requests']} of {content['clients']} clients deleted, beside retraining ({reference})"
    )
    made = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for key, heading in COLUMNS.items():
        made.add_column(Text(heading), justify="left" if key == "strategy" else "right", overflow="fold")
    for label, mine in results.items():
        row = cells(label, mine, spread.get(label))
        made.add_row(*(Text(row[key]) for key in COLUMNS))
    return made


def _read(values: Any) -> dict[str, Unlearning]:
    return TypeAdapter(dict[str, Unlearning]).validate_python(values)


def _shown(value: float | None, spread: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.3f}" if spread is None else f"{value:.3f}\N{NO-BREAK SPACE}±{spread:.3f}"
