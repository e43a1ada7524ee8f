"""Reading a scenario file: YAML with ``--set`` overrides, and errors that name the key, the file and the line."""

import copy
import difflib
import importlib.resources
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from clients.data.specs import EMBEDDED, FAMILIES, OUTSIDE
from clients.errors import InputError
from clients.settings import EMBEDDED_BASES
from sim.scenario.model import Scenario

FOLDERS = ("studies", "papers")
"""Folders of scenarios beside the others: of docs/streams.md, and of docs/reproductions.md."""
SET = "--set"
Location = tuple[str | int, ...]
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe one in C, where there is one: a command opens its run several times, and feels the other."""


@dataclass
class Asked:
    """A scenario as it was asked for: what its file says, with overrides, before defaults are filled in.

    Attributes:
        values: sections and keys; files and folders are absolute.
        lines: where each key stands, for messages: "line N", or what set it.
        path: the file.
    """

    values: dict[str, Any]
    lines: dict[Location, str]
    path: Path

    def scenario(self) -> Scenario:
        """The scenario, checked whole; InputError, with one line per mistake, if it is none."""
        try:
            return Scenario.model_validate(copy.deepcopy(self.values))
        except ValidationError as error:
            lines = (_message(self.path, self.lines, e) for e in _first_of_each(error.errors()))
            raise InputError("\n".join(lines)) from error

    def put(self, name: str, value: Any, by: str) -> None:
        """Set one key.

        Args:
            name: as in ``data.clients``.
            by: who sets it, as messages begin.

        Raises:
            InputError: there is no such place.
        """
        location = _put(self.values, name, value, by)
        for depth in range(1, len(location)):  # sections that were not in the file
            self.lines.setdefault(location[:depth], by)
        self.lines[location] = by
        if location == ("workers", "kind"):  # it stands for both, and the last word wins
            self.values["workers"] = {k: v for k, v in self.values["workers"].items() if k not in ("learn", "stream")}

    def copied(self) -> "Asked":
        """Another, in which other keys can be set."""
        return Asked(copy.deepcopy(self.values), dict(self.lines), self.path)


def load_scenario(source: str, overrides: Sequence[str] = (), size: str | None = None) -> Scenario:
    """The scenario of a file, or of a packaged one by name (``quickstart``).

    Args:
        overrides: ``key.path=value`` each, the value as YAML; they win over the file.
        size: one of its ``sizes``, whose keys win over the file, and overrides over them.

    Raises:
        InputError: no such file, not YAML, or not a scenario; the message has one line per mistake.
    """
    return load(source, overrides, size).scenario()


def load(source: str, overrides: Sequence[str] = (), size: str | None = None) -> Asked:
    """The same, not checked yet.

    Raises:
        InputError: no such file, not YAML, no such size, or an override fits nowhere.
    """
    path = find(source)
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=Loader)
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: a scenario is a mapping of sections, as in 'data: {{source: fiction}}'")
    _refuse_doubles(node, path)
    asked = Asked(values, _lines(node), path)
    for key, value in _of_size(values, size, path).items():
        asked.put(key, copy.deepcopy(value), f"--size {size}: {key}")
    for override in overrides:
        asked.put(*_parsed(override), f"{SET} {override}")
    for holder, key in _sources(values):
        holder[key] = _absolute(holder[key], path.parent)
    return asked


def _of_size(values: dict[str, Any], size: str | None, path: Path) -> dict[str, Any]:
    """The keys of a size; none where none is asked for."""
    sizes = values.get("sizes") or {}
    if size is None:
        return {}
    if not isinstance(sizes, dict) or not isinstance(sizes.get(size), dict):
        known = f"its sizes are {', '.join(map(str, sizes))}" if sizes else "it has no sizes"
        raise InputError(f"--size {size}: {path} has none of that name; {known}")
    return dict(sizes[size])


def _first_of_each(errors: Sequence[Any]) -> list[Any]:
    """Without complaints that a list is too short because all of its items were refused."""
    refused = [error["loc"] for error in errors]
    return [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(loc != error["loc"] and loc[: len(error["loc"])] == error["loc"] for loc in refused)
    ]


def find(source: str) -> Path:
    """A file, or a scenario that came with the package: ``quickstart``, ``scenarios/quickstart.yaml``, ``studies/folds``."""
    path = Path(source)
    if path.is_file():
        return path
    shipped = Path(str(importlib.resources.files("scenarios")))
    name = path.name if path.suffix == ".yaml" else f"{path.name}.yaml"
    folders = {Path(): shipped, Path("scenarios"): shipped}
    folders |= {place / each: shipped / each for place in folders for each in FOLDERS}
    if path.parent in folders and (folders[path.parent] / name).is_file():
        return folders[path.parent] / name
    known = ", ".join(sorted(p.relative_to(shipped).with_suffix("").as_posix() for p in shipped.rglob("*.yaml")))
    raise InputError(f"there is no scenario file {source}; the ones that come with unmerge are {known}")


def _lines(node: Any, at: Location = ()) -> dict[Location, str]:
    """Where each key stands: its path in the document to "line N"."""
    found = {at: f"line {node.start_mark.line + 1}"} if node is not None else {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            found |= _lines(value, (*at, key.value)) | {(*at, key.value): f"line {key.start_mark.line + 1}"}
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found |= _lines(value, (*at, index))
    return found


def _refuse_doubles(node: Any, path: Path) -> None:
    """YAML keeps the last of two equal keys without a word; a scenario does not."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise InputError(f"{path}, line {key.start_mark.line + 1}: the key {key.value!r} is there twice")
            seen.add(key.value)
            _refuse_doubles(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_doubles(value, path)


def _parsed(override: str) -> tuple[str, Any]:
    """The key and the value of ``KEY=VALUE``."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise InputError(f"{SET} {override}: write key=value, as in {SET} data.clients=10")
    try:
        return name, yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{SET} {override}: the value is not YAML") from error


def _put(values: dict[str, Any], name: str, value: Any, by: str) -> Location:
    """Set one key in place; returns its location."""
    location: list[str | int] = []
    here: Any = values
    parts = name.split(".")
    for depth, part in enumerate(parts):
        key: str | int = int(part) if isinstance(here, list) and part.isdigit() else part
        location.append(key)
        if isinstance(here, list) and (not isinstance(key, int) or key >= len(here)):
            raise InputError(f"{by}: {'.'.join(parts[:depth])} is a list of {len(here)}, from 0")
        if depth == len(parts) - 1:
            here[key] = value
        elif isinstance(here, dict):
            here = here.setdefault(key, {})
            here = _opened(here, parts, depth, by)
        else:
            here = _opened(here[key], parts, depth, by)
    return tuple(location)


def _sources(values: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Where a scenario may name a file or folder: the container and the key or index in it."""
    found: list[tuple[Any, Any]] = [(values.get("data"), "source"), (values.get("model"), "base")]
    stream = values.get("stream")
    found += [(stream.get("arrivals"), "source")] if isinstance(stream, dict) else []
    sets = values["data"].get("sets") if isinstance(values.get("data"), dict) else None
    for index, one in enumerate(sets if isinstance(sets, list) else []):
        found.append((one, "source") if isinstance(one, dict) else (sets, index))
    return [
        (holder, key) for holder, key in found if isinstance(holder, list) or (isinstance(holder, dict) and key in holder)
    ]


def _absolute(value: Any, beside: Path) -> Any:
    """A file or folder is meant from here, or else from the scenario's folder; absolute, so that a run can be verified
    from anywhere. Names and hub ids stay as they are."""
    if not isinstance(value, str) or value in ("", *FAMILIES, *EMBEDDED, *EMBEDDED_BASES):
        return value
    found = [path for path in (Path(value).expanduser(), beside / value) if path.exists()]
    return str(found[0].resolve()) if found else value


def _opened(value: Any, parts: list[str], depth: int, by: str) -> Any:
    if not isinstance(value, dict | list):
        raise InputError(f"{by}: {'.'.join(parts[: depth + 1])} is {value!r}, which has no keys")
    return value


def _message(path: Path, lines: dict[Location, str], error: Any) -> str:
    """One line: file and line, key, what is wrong and what would be right."""
    location = tuple(part for part in error["loc"])
    shown, where = _in_document(location, lines)
    text = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        close = _closest(str(location[-1]), known)
        text = f"unknown key{f'; did you mean {close!r}?' if close else ''}"
        text += f" Known here: {', '.join(known)}" if known else ""
    elif "input" in error and not isinstance(error["input"], dict | list | BaseModel):
        text += f" (found {error['input']!r})"
    place = where if _is_set(where) else f"{path}, {where}"
    return f"{place}: {'.'.join(map(str, shown))}{': ' if shown else ''}{text}"


def _closest(word: str, known: Sequence[str]) -> str | None:
    """The known word that is most like this one; of equals the one that begins like it for longest."""

    def likeness(other: str) -> tuple[float, int]:
        alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(other, word, strict=False))
        return difflib.SequenceMatcher(None, other, word).ratio(), len(list(alike))

    return max(difflib.get_close_matches(word, known), key=likeness, default=None)


def _is_set(place: str) -> bool:
    """Whether a key was set by something else than a line of the file."""
    return not place.startswith("line ")


def _in_document(location: Location, lines: dict[Location, str]) -> tuple[Location, str]:
    """The key as the user wrote it (without pydantic's own steps, such as a union's tag), and where it stands."""
    shown: Location = ()
    for index, part in enumerate(location):
        tag = location[:1] == ("data",) and index == 1 and part in (*FAMILIES, OUTSIDE)
        if (*shown, part) in lines or (index == len(location) - 1 and isinstance(part, str) and not tag):
            shown = (*shown, part)
    within = [place for at, place in lines.items() if at[: len(shown)] == shown and _is_set(place)]
    nearest = shown
    while nearest not in lines and nearest:
        nearest = nearest[:-1]
    return shown, within[-1] if within and shown else lines.get(nearest, "line 1")


def _known_keys(location: Location) -> list[str]:
    """Keys that the section at a location takes."""
    model: Any = Scenario
    for part in location:
        options = _models(model.model_fields[part].annotation) if part in model.model_fields else []
        if options:
            model = options[0] if len(options) == 1 else options
        elif isinstance(model, list):
            continue
        if isinstance(model, list):
            family = location[location.index(part) + 1] if location.index(part) + 1 < len(location) else None
            if family == OUTSIDE:
                return []
            named = [m for m in model if "family" in m.model_fields]
            model = next((m for m in named if m.model_fields["family"].default == family), model[0])
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Pydantic models inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]
