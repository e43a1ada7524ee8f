"""The folder of a run: made for a new one; of one that is there scenario, ledger and what was asked of it, all checked."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from clients.errors import InputError
from clients.exact import determinism
from clients.exact.files import write_whole
from sim.life.ledger import Ledger
from sim.life.record import PROGRESS
from sim.life.system import read_json, write_json
from sim.scenario.file import load_scenario
from sim.scenario.model import Scenario
from sim.stream.requests import Request
from sim.terminal import errors

SCENARIO, LEDGER, SUMMARY, ASKED = "scenario.yaml", "ledger.jsonl", "summary.json", "asked.json"
END, REFUSED = "end", "refused"
"""The ledger's last event, when nothing is owed; a request by command that is refused changes nothing."""
MOVABLE = ("data.source", "data.sets", "model.base", "workers.")
"""Keys that may be another's when a run is opened: where things lie, and who works."""


@dataclass
class Opened:
    """A run folder.

    Attributes:
        finished: whether everything that the scenario asks for was done.
        commands: requests by command since the run began, those carried out too.
    """

    run: Path
    scenario: Scenario
    ledger: Ledger
    finished: bool
    commands: list[Request]


def new_folder(scenario: Scenario, out: Path | None) -> Path:
    """The run folder to write to: ``out``, or the first free of ``runs/NAME``, ``runs/NAME-2``, ...

    Raises:
        InputError: ``out`` exists already, or is no place to write to.
    """
    if out is not None:
        if is_unfinished(out):
            raise InputError(
                f"--out {out}: a run is there that has not finished; go on with: unmerge run --resume {out}. "
                "Or choose another folder"
            )
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"--out {out}: exists already; nothing there was touched. Choose another folder")
        return out
    number = 1
    while (folder := Path("runs") / (scenario.name + (f"-{number}" if number > 1 else ""))).exists():
        if is_unfinished(folder):
            errors.print(f"{folder} has not finished; go on with: unmerge run --resume {folder}", soft_wrap=True)
        number += 1
    return folder


def is_unfinished(run: Path) -> bool:
    """Whether a folder is that of a run that has not come to its end."""
    return (run / SCENARIO).is_file() and not (run / SUMMARY).is_file()


def make(run: Path) -> None:
    """Make the folder of a new run; InputError if it cannot be made."""
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {run}: cannot be made ({error.strerror}); choose another folder") from error


def begin(run: Path, scenario: Scenario) -> Opened:
    """Write the scenario and the ledger's first lines."""
    write_whole(run / SCENARIO, resolved(scenario).encode())
    opened = Opened(run, scenario, Ledger(run / LEDGER), False, [])
    _start(opened)
    return opened


def resolved(scenario: Scenario) -> str:
    """The scenario as YAML with every default filled in."""
    return yaml.safe_dump(scenario.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def open_run(run: Path, overrides: Sequence[str] = ()) -> Opened:
    """A run folder, finished or not.

    Args:
        overrides: ``KEY=VALUE``, of keys that may be other ones than when the run began.

    Raises:
        InputError: not a run folder, its scenario was changed, its ledger is damaged, or an override would change results.
    """
    if not (run / SCENARIO).is_file():
        raise InputError(f"{run}: not a run folder (no {SCENARIO} in it)")
    for override in overrides:
        if not override.startswith(MOVABLE):
            raise InputError(
                f"--set {override}: would change what the run is; of a run that is there only {', '.join(MOVABLE[:-1])} and "
                "workers can be other ones"
            )
    for stray in run.glob(".*.part"):  # of a file that was being written by a process that was killed
        stray.unlink(missing_ok=True)
    ledger = Ledger(run / LEDGER)
    written, finished = load_scenario(str(run / SCENARIO)), (run / SUMMARY).is_file()
    asked = load_scenario(str(run / SCENARIO), overrides) if overrides else written
    opened = Opened(run, asked, ledger, finished, _commands(run))
    _check(opened, written)
    if not ledger.records:
        _start(opened)
    return opened


def finished_run(run: Path, overrides: Sequence[str] = ()) -> Opened:
    """A run folder of which nothing is owed.

    Raises:
        InputError: as ``open_run``; or something is owed still.
    """
    opened = open_run(run, overrides)
    if not opened.finished or is_owed(opened):
        raise InputError(f"{run}: this run has not finished; go on with: unmerge run --resume {run}")
    return opened


def is_owed(opened: Opened) -> bool:
    """Whether a request by command has not been carried out to its end, in every seed."""
    done = [read_json(opened.run / "state" / str(seed) / PROGRESS)["commands"] for seed in opened.scenario.seeds]
    return min(done) < len(opened.commands) or is_open(opened)


def is_open(opened: Opened) -> bool:
    """Whether something has happened since the ledger last said that nothing is owed."""
    last = opened.ledger.last
    return last is None or last["event"] not in (END, REFUSED)


def ask(opened: Opened, request: Request) -> None:
    """Write a request down; from here on it is owed, whatever happens to this process."""
    opened.commands.append(request)
    told = [asdict(each) for each in opened.commands]
    write_json(opened.run / ASKED, told)


def answered(opened: Opened) -> None:
    """All requests have been carried out: the examples that they named are written down no longer."""
    if any(request.examples for request in opened.commands):
        write_json(opened.run / ASKED, [asdict(each) | {"examples": []} for each in opened.commands])


def _start(opened: Opened) -> None:
    scenario = opened.scenario
    environment = determinism.environment("cuda" if scenario.workers.gpus else "cpu")
    opened.ledger.append("start", scenario_digest=scenario.digest(), environment=environment)
    opened.ledger.commit()


def _commands(run: Path) -> list[Request]:
    if not (run / ASKED).exists():
        return []
    try:
        return [Request(**(each | {"examples": tuple(each["examples"])})) for each in read_json(run / ASKED)]
    except (TypeError, KeyError) as error:
        raise InputError(f"{run / ASKED}: not a list of requests ({error})") from error


def _check(opened: Opened, written: Scenario) -> None:
    """Scenario, ledger and summary must be of one run."""
    ledger = opened.ledger
    if ledger.first is not None and written.digest() != ledger.first.get("scenario_digest"):
        raise InputError(f"{opened.run / SCENARIO}: was changed after the run began; its digest differs from the ledger's")
    if opened.finished:
        told: dict[str, Any] = read_json(opened.run / SUMMARY)["ledger"]
        if ledger.records < told["records"] or ledger.hashes[told["records"] - 1] != told["head"]:
            raise InputError(f"{ledger.path}: its last lines are missing, or it is another run's: {SUMMARY} speaks of more")
