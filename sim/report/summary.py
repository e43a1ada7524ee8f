"""What the report reads of ``summary.json``, checked."""

import json
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from clients.errors import InputError
from sim.report.gap import Unlearning
from sim.report.notes import notes
from sim.report.times import Backlog, Times, TimeToForget
from strategies.registry import FLOOR, PRIOR

C = TypeVar("C", bound=BaseModel)


class Phases(BaseModel):
    learn: float
    forget: float


class Accuracy(BaseModel):
    held_in_before: float | None
    held_in_after: float | None
    held_out_before: float | None
    held_out_after: float | None
    forgotten_before: float | None
    forgotten_after: float | None
    unseen_before: float | None = None
    unseen_after: float | None = None
    other_half_before: float | None = None
    other_half_after: float | None = None
    stayed_before: float | None = None


class Above(BaseModel):
    difference: float
    low: float
    high: float


class StrategyResult(BaseModel):
    strategy: str
    exactness: Literal["exact", "approximate"]
    deletion: str
    tuning: str | None
    parameters: dict[str, Any]
    accuracy: Accuracy
    gradient_steps: Phases
    parallel_steps: Phases
    client_tunings: int
    seconds: Phases
    bytes_up: int
    bytes_down: int
    storage_before: int
    storage_bytes: int
    state_digest: str
    rebuilt_digest: str | None
    bitwise_equal: bool | None
    failed: str | None = None
    above_prior: Above | None = None
    time_to_forget: TimeToForget | None = None
    backlog: Backlog | None = None
    utilisation: float | None = None


class Point(BaseModel):
    deleted: int
    held_in: float | None
    held_out: float | None
    gradient_steps: float
    day: float | None = None
    storage_bytes: float = 0.0


class RetrainPoint(BaseModel):
    deleted: int
    gradient_steps: float


class LedgerEnd(BaseModel):
    records: int
    head: str


class Parameters(BaseModel):
    total: int
    tunable: int


class Sides(BaseModel):
    halved: bool = False


class Summary(BaseModel):
    """What the report reads of ``summary.json``."""

    name: str
    scenario_digest: str
    metric: str
    clients: int
    data: list[str] = []
    requests: int
    seeds: list[int]
    seconds: float
    parameters: Parameters
    environment: dict[str, Any]
    ledger: LedgerEnd
    strategies: dict[str, StrategyResult]
    curve: dict[str, list[Point]]
    retrain: list[RetrainPoint]
    spread: dict[str, Accuracy] = {}
    unlearning: dict[str, Unlearning] = {}
    unlearning_spread: dict[str, Unlearning] = {}
    missing: dict[str, dict[str, dict[str, str]]] = {}
    gone: int = 0
    refused: int = 0
    days: float | None = None
    deadline: float | None = None
    compressed: float | None = None
    times: Times | None = None
    sides: Sides = Sides()

    @property
    def notes(self) -> list[str]:
        """Who is missing and why, whose data are gone, which strategies failed, and what settings were chosen on."""
        failed = {label: result.failed for label, result in self.strategies.items()}
        prior = next((label for label, result in self.strategies.items() if result.strategy == PRIOR), "")
        told = {label: r.above_prior for label, r in self.strategies.items() if r.above_prior and r.strategy != FLOOR}
        below = [label for label, above in told.items() if above.low <= 0]
        return notes(self.missing, self.gone, failed, self.sides.halved, below, prior)


def checked(path: Path, model: type[C], remedy: str) -> C:
    """What a file of JSON holds, checked.

    Raises:
        InputError: it is missing or damaged; ``remedy`` says what would be right.
    """
    try:
        return model.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InputError(f"{path}: damaged at {where} ({first['msg']}); {remedy}") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged, not JSON ({error}); {remedy}") from error


def read_summary(run: Path) -> Summary:
    """The summary of a run folder, checked.

    Raises:
        InputError: it is missing or damaged.
    """
    path = run / "summary.json"
    remedy = "give the folder of a finished run, or run its scenario.yaml again"
    summary = checked(path, Summary, remedy)
    missing = summary.strategies.keys() - summary.curve.keys()
    if missing:
        raise InputError(f"{path}: damaged at curve (nothing for {', '.join(sorted(missing))}); {remedy}")
    return summary
