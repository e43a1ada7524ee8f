"""What a tracking library is to the simulator: opened with a place, told rows and a summary, closed.

Rows are told in order, and a row that was told is not told again: whoever opens says how many are there. Everything is read
from what is committed, so a kill at any moment costs no row and doubles none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Place:
    """What a tracked run is.

    Attributes:
        folder: in the run folder, for the library's own files.
        identity: of the tracked run, the same whenever it goes on.
        project: the scenario's name.
        title: the run folder's name.
        parameters: the scenario, by dotted keys; texts, numbers, truth values, and JSON of lists.
        axes: what the rows' names begin with, a name per seed.
    """

    folder: Path
    identity: str
    project: str
    title: str
    parameters: Mapping[str, Any]
    axes: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One evaluation of one seed.

    Attributes:
        number: of the evaluation in the run, from 0, in the order in which they happened.
        seed: whose.
        events: requests and joins by then, the x axis.
        values: by strategy and by what it is, as ``values["average"]["held_in"]``.
    """

    number: int
    seed: int
    events: int
    values: Mapping[str, Mapping[str, float]]

    @property
    def axis(self) -> str:
        return axis_of(self.seed)

    @property
    def series(self) -> dict[str, float]:
        """By name, as ``seed_7/average/held_in``."""
        return {
            f"{self.axis}/{label}/{key}": value for label, values in self.values.items() for key, value in values.items()
        }


def axis_of(seed: int) -> str:
    """What the names of a seed's series begin with."""
    return f"seed_{seed}"


class Tracker(Protocol):
    """An open tracked run.

    Attributes:
        known: how many rows are there already.
    """

    known: int

    def log(self, row: Row) -> None:
        """Tell the next row."""

    def end(self, summary: Mapping[str, float]) -> None:
        """Tell what it has come to, by dotted names, as ``average.accuracy.held_in_after``; once more, after a request."""

    def close(self) -> None:
        """Let go of it."""
