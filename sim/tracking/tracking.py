"""Follows a run and tells the libraries that its scenario names: each evaluation as a row, and the summary at the end.

Tracking decides nothing: a library that fails is named on stderr, and the run goes on without it.
"""

import importlib.util
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from clients.errors import InputError
from clients.exact.files import write_whole
from sim.life import ledger, record
from sim.life.journal import Journal
from sim.life.life import Life
from sim.life.record import PROGRESS, Record
from sim.life.saved import LEDGER, Opened
from sim.scenario.model import Scenario
from sim.terminal import errors
from sim.tracking.tracker import Place, Row, Tracker, axis_of

FOLDER, IDENTITY = "tracking", "identity"
TRACKERS = {
    "tensorboard": "TensorBoard",
    "mlflow": "MLflow",
    "wandb": "WandB",
    "trackio": "Trackio",
}
"""The class of each library, in the file of its name."""
TOLD = ("held_in", "held_out", "forgotten", "unseen", "gradient_steps", "storage_bytes")
"""What a row tells of a strategy; steps are those after learning, as in the curves of the report."""
SUMMARY = (
    "accuracy",
    "gradient_steps",
    "client_tunings",
    "seconds",
    "storage_bytes",
    "bytes_up",
    "bytes_down",
    "bitwise_equal",
)
"""What of a strategy's entry in ``summary.json`` is told at the end."""


def check(scenario: Scenario) -> None:
    """Raise InputError if a library that the scenario names is not installed."""
    for name in scenario.report.trackers:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"report.track: {name} is not installed; in the checkout: pip install -e '.[{name}]'")


class Tracking:
    """A run that is followed.

    Args:
        trackers: by name.
        curves: of every seed that has begun, as it was committed.
        order: the seed of each evaluation in the ledger.
    """

    def __init__(self, trackers: dict[str, Tracker], curves: Mapping[int, Sequence[Record]], order: Sequence[int]) -> None:
        self.trackers, self._told, self._rows = trackers, dict[int, int](), 0
        for seed in order:
            self._tell(seed, curves[seed][self._told.get(seed, 0)])

    def follow(self, life: Life) -> None:
        """Tell what was evaluated until the last commit."""
        seed, curve = life.system.seed, life.record["curve"]
        for point in curve[self._told.get(seed, 0) :]:
            self._tell(seed, point)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Tell what the run has come to; ``summary`` is the content of ``summary.json``."""
        told: dict[str, float] = {}
        for label, result in summary["strategies"].items():
            told |= _numbers({key: result[key] for key in SUMMARY}, f"{label}.")
        for name, tracker in list(self.trackers.items()):
            self._try(name, partial(tracker.end, told))

    def close(self) -> None:
        for name, tracker in list(self.trackers.items()):
            self._try(name, tracker.close)

    def _tell(self, seed: int, point: Record) -> None:
        values = {
            label: {key: float(told[key]) for key in TOLD if told.get(key) is not None}
            for label, told in point["strategies"].items()
        }
        row = Row(self._rows, seed, point["events"], values)
        self._rows, self._told[seed] = self._rows + 1, self._told.get(seed, 0) + 1
        for name, tracker in list(self.trackers.items()):
            if row.number >= tracker.known:
                self._try(name, partial(tracker.log, row))

    def _try(self, name: str, telling: Callable[[], None]) -> None:
        try:
            telling()
        except Exception as error:  # libraries raise what they like, and none of it is the run's business
            self.trackers.pop(name, None)
            _complain(name, error)


@contextmanager
def tracked(opened: Opened) -> Iterator[Tracking]:
    """The libraries that a run's scenario names, told all that is committed.

    Raises:
        InputError: one of them is not installed.
    """
    check(opened.scenario)
    place, trackers = _place(opened), dict[str, Tracker]()
    for name in opened.scenario.report.trackers:
        try:
            trackers[name] = getattr(import_module(f"sim.tracking.{name}"), TRACKERS[name])(place)
        except Exception as error:  # as above
            _complain(name, error)
    events = ledger.read(opened.run / LEDGER)
    order = [event["seed"] for event in events if event["event"] == "evaluated"]
    following = Tracking(trackers, _curves(opened), order)
    try:
        yield following
    finally:
        following.close()


def _place(opened: Opened) -> Place:
    folder = opened.run / FOLDER
    if not (folder / IDENTITY).is_file():
        write_whole(folder / IDENTITY, secrets.token_hex(4).encode())
    return Place(
        folder,
        (folder / IDENTITY).read_text(encoding="ascii"),
        opened.scenario.name,
        opened.run.resolve().name,
        _flat(opened.scenario.model_dump(mode="json")),
        tuple(axis_of(seed) for seed in opened.scenario.seeds),
    )


def _curves(opened: Opened) -> dict[int, Sequence[Record]]:
    """Of every seed, as it was committed."""
    found = {}
    for seed in opened.scenario.seeds:
        journal = Journal(opened.run / "state" / str(seed), opened.ledger, seed)
        found[seed] = record.read(journal, PROGRESS)["curve"] if journal.has(PROGRESS) else []
    return found


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """By dotted keys; lists as JSON, what is null is left out."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}.")
        elif value is not None:
            found[before + key] = json.dumps(value) if isinstance(value, list) else value
    return found


def _numbers(values: Mapping[str, Any], before: str) -> dict[str, float]:
    return {key: float(value) for key, value in _flat(values, before).items() if isinstance(value, int | float)}


def _complain(name: str, error: Exception) -> None:
    errors.print(
        f"report.track: {name} failed ({type(error).__name__}: {error}); the run goes on without it.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
