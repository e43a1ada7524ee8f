"""The folder of a run: made for a new one; of a finished one scenario, ledger, records and saved state, all checked."""

from pathlib import Path
from typing import Any

import yaml

from clients.errors import InputError
from clients.exact import determinism
from clients.exact.files import write_whole
from sim.life import ledger as ledger_file
from sim.life import summary
from sim.life.ledger import Ledger
from sim.life.system import System, build, read_json
from sim.scenario.file import load_scenario
from sim.scenario.model import Scenario


def new_folder(scenario: Scenario, out: Path | None) -> Path:
    """The run folder to write to: ``out``, or the first free of ``runs/NAME``, ``runs/NAME-2``, ...

    Raises:
        InputError: ``out`` exists already, or is no place to write to.
    """
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"--out {out}: exists already; nothing there was touched. Choose another folder")
        return out
    number = 1
    while (folder := Path("runs") / (scenario.name + (f"-{number}" if number > 1 else ""))).exists():
        number += 1
    return folder


def make(run: Path) -> None:
    """Make the folder of a new run; InputError if it cannot be made."""
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {run}: cannot be made ({error.strerror}); choose another folder") from error


def begin(run: Path, scenario: Scenario) -> Ledger:
    """Write the scenario and the ledger's first line."""
    write_whole(run / "scenario.yaml", resolved(scenario).encode())
    ledger = Ledger(run / "ledger.jsonl")
    environment = determinism.environment("cuda" if scenario.workers.gpus else "cpu")
    ledger.append("start", scenario_digest=scenario.digest(), environment=environment)
    return ledger


def resolved(scenario: Scenario) -> str:
    """The scenario as YAML with every default filled in."""
    return yaml.safe_dump(scenario.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def open_run(run: Path) -> tuple[Scenario, dict[str, Any], list[dict[str, Any]]]:
    """Scenario, summary and seed records of a run folder.

    Raises:
        InputError: not a finished run, its scenario was changed, or its ledger is damaged.
    """
    if not (run / "scenario.yaml").is_file():
        raise InputError(f"{run}: not a run folder (no scenario.yaml in it)")
    if not (run / "summary.json").is_file():
        raise InputError(f"{run}: this run did not finish (no summary.json in it); run its scenario.yaml again")
    scenario, told = load_scenario(str(run / "scenario.yaml")), read_json(run / "summary.json")
    if scenario.digest() != told.get("scenario_digest"):
        raise InputError(f"{run / 'scenario.yaml'}: was changed after the run; its digest differs from the summary's")
    list(ledger_file.read(run / "ledger.jsonl"))
    return scenario, told, summary.read_records(run, scenario.seeds)


def open_system(run: Path, scenario: Scenario, record: dict[str, Any]) -> System:
    """A seed's saved state.

    Raises:
        InputError: a state file is missing, damaged, or not the one that the run recorded.
    """
    system = build(scenario, record["seed"], run / "state" / str(record["seed"]), load=True)
    _check_against_ledger(run, record)
    for label, found in system.digests().items():
        if found != record["state_digest"][label]:
            raise InputError(
                f"{system.folder}: the saved state of {label} is damaged: its digest is {found[:16]}..., "
                f"the run recorded {record['state_digest'][label][:16]}..."
            )
    return system


def _check_against_ledger(run: Path, record: dict[str, Any]) -> None:
    """The last release in the ledger must speak of the same state as the record."""
    events = [r for r in ledger_file.read(run / "ledger.jsonl") if r["event"] in ("learned", "release")]
    last = next(r for r in reversed(events) if r["seed"] == record["seed"])
    for label, facts in last["strategies"].items():
        if facts["state_digest"] != record["state_digest"][label]:
            raise InputError(f"{run / 'ledger.jsonl'}: its last release of {label} is not the state in progress.json")
