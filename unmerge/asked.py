"""A scenario in whatever form it is given, as the file and the overrides that the simulator reads."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from clients.errors import InputError
from sim.life.saved import resolved
from sim.scenario.model import Scenario

Source = str | Path | Mapping[str, Any] | Scenario
Overrides = Mapping[str, Any]


@contextmanager
def source_of(scenario: Source) -> Iterator[str]:
    """A file's path, or the name of one that comes with unmerge; one that is given as a dict is written down for a while.

    Raises:
        InputError: in the block too, where messages then speak of the scenario and not of that file.
    """
    if isinstance(scenario, str | Path):
        yield str(scenario)
        return
    with tempfile.TemporaryDirectory(prefix="unmerge-") as folder:
        path = Path(folder) / "scenario.yaml"
        path.write_text(resolved(scenario) if isinstance(scenario, Scenario) else _yaml(dict(scenario)), encoding="utf-8")
        try:
            yield str(path)
        except InputError as error:
            raise InputError(re.sub(rf"{re.escape(str(path))}(, line \d+)?", "the scenario", str(error))) from error


def sets_of(overrides: Overrides | None) -> list[str]:
    """Overrides as the command takes them: ``KEY=VALUE``, the value as YAML."""
    return [f"{key}={_flow(value)}" for key, value in (overrides or {}).items()]


def _flow(value: Any) -> str:
    return _yaml(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")


def _yaml(value: Any, **options: Any) -> str:
    try:
        return yaml.safe_dump(_plain(value), sort_keys=False, allow_unicode=True, **options)
    except yaml.YAMLError as error:
        raise InputError(f"the scenario: holds what YAML has no word for: {' '.join(str(error).split())}") from error


def _plain(value: Any) -> Any:
    """Tuples as lists and paths as texts, which YAML knows."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
