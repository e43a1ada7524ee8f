"""The points of a study: a scenario for each combination of the values of its sweep, and for each seed.

The key ``clients`` is how many join, T. The population is that of the largest T at every point, and so are base model and
shards: of those who join at T all join at a larger T too. What the stream counts keeps its share of those who join.
"""

import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clients.errors import InputError
from clients.exact import digest
from sim.scenario.file import Asked
from sim.scenario.model import Scenario

CLIENTS = "clients"
"""The axis of how many clients join."""
REFUSED = {
    "seeds": "seeds is a key of the scenario; every point is played for each of them",
    "sweep": "a sweep has no sweep",
    "claims": "claims are of the whole study",
    "sizes": "sizes are of the whole study",
    "name": "all points are of one study, which has the name",
}
OF_A_STUDY = ("sweep", "claims", "sizes")
"""Sections that are of the whole, and of none of its points."""
WITH_CLIENTS = ("data.clients", "stream.join", "stream.population")
"""Keys that the axis of clients sets."""
LONGEST = 120
"""Characters of a point's name."""


@dataclass(frozen=True)
class Point:
    """One run of a study.

    Attributes:
        name: of its folder.
        axes: the value of each key of the sweep.
        scenario: of one seed, without a sweep.
    """

    name: str
    axes: Mapping[str, Any]
    seed: int
    scenario: Scenario


def points_of(asked: Asked) -> list[Point]:
    """All points of a study, those of most clients first: what they tune the others need not tune again.

    Raises:
        InputError: the scenario is none, or a value of the sweep does not go with it; the key and the value are named.
    """
    whole = asked.scenario()
    axes = whole.sweep
    _check(axes)
    found = []
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        for seed in whole.seeds:
            found.append(Point(named(chosen, seed), chosen, seed, _scenario(asked, whole, chosen, seed)))
    names = [point.name for point in found]
    assert len(set(names)) == len(names)
    return sorted(found, key=lambda point: (-point.scenario.stream.join, whole.seeds.index(point.seed)))  # type: ignore[operator]


def named(chosen: Mapping[str, Any], seed: int) -> str:
    """The folder of a point: ``clients=50,seed=1``."""
    parts = [f"{key}={_safe(value)}" for key, value in [*chosen.items(), ("seed", seed)]]
    whole = ",".join(re.sub(r"[^\w.=+-]", "-", part, flags=re.ASCII) for part in parts)
    if len(whole) <= LONGEST:
        return whole
    return f"{whole[: LONGEST - 30]}-{digest.of_json(dict(chosen))[:8]},seed={seed}"


def _safe(value: Any) -> str:
    """A value as a name has it; one with other characters is told from others by a digest."""
    text = value if isinstance(value, str) else json.dumps(value)
    if re.fullmatch(r"[\w.+-]+", text, flags=re.ASCII):
        return text
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', text).strip('-')[:24]}-{digest.of_json(value)[:8]}"


def shown(value: Any) -> str | int | float | bool | None:
    """A value as tables have it: a scalar as it is, anything else as JSON."""
    return value if value is None or isinstance(value, str | int | float | bool) else json.dumps(value, ensure_ascii=False)


def _check(axes: Mapping[str, tuple[Any, ...]]) -> None:
    if not axes:
        raise InputError("sweep: has no key; give one and its values, as in sweep: {tuning.steps: [5, 10]}")
    for key, values in axes.items():
        if key.partition(".")[0] in REFUSED:
            raise InputError(f"sweep: {key}: {REFUSED[key.partition('.')[0]]}")
        if CLIENTS in axes and key in WITH_CLIENTS:
            raise InputError(f"sweep: {key} and {CLIENTS} set the same; keep one")
        texts = [json.dumps(value, sort_keys=True) for value in map(_plain, values)]
        if twice := [value for value, text in zip(values, texts, strict=True) if texts.count(text) > 1]:
            raise InputError(f"sweep: {key}: {shown(twice[0])} is there twice")
    for value in axes.get(CLIENTS, ()):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"sweep: {CLIENTS} = {value}: how many clients join, a whole number from 1")


def _plain(value: Any) -> Any:
    """A value of YAML as JSON: a date by its text."""
    return json.loads(json.dumps(value, default=str))


def _scenario(asked: Asked, whole: Scenario, chosen: Mapping[str, Any], seed: int) -> Scenario:
    own = asked.copied()
    for key in OF_A_STUDY:
        own.values.pop(key, None)
    own.put("seeds", [seed], "seeds")
    if "html" not in (own.values.get("report") or {}):
        own.put("report.html", False, "report")  # of one point; the study has its own
    by = {key: f"sweep: {key} = {shown(value)}" for key, value in chosen.items()}
    for key in sorted(chosen, key=lambda key: key != CLIENTS):  # a key of the stream wins over what clients make of it
        if key == CLIENTS:
            _let_join(own, whole, chosen[key], by[key])
        else:
            own.put(key, chosen[key], by[key])
    try:
        return own.scenario()
    except InputError as error:
        if any(each in str(error) for each in by.values()):
            raise
        raise InputError(f"{'; '.join(by.values())}: {error}") from error


def _let_join(own: Asked, whole: Scenario, count: int, by: str) -> None:
    """Let so many join of the population of the largest number."""
    most, before = max(whole.sweep[CLIENTS]), whole.stream.join
    assert before is not None
    own.put("stream.join", count, by)
    stream = own.values["stream"]
    newcomers = stream["joins"] * most // before if isinstance(stream.get("joins"), int) else 0
    own.put("data.clients", most + whole.stream.unseen + newcomers, by)
    for key in ("requests", "joins", "returns", "examples"):
        if isinstance(stream.get(key), int) and not isinstance(stream[key], bool):
            stream[key] = stream[key] * count // before
    if isinstance(every := (stream.get("release") or {}).get("every"), int) and every > 1:
        stream["release"] = stream["release"] | {"every": max(1, every * count // before)}
    if isinstance(after := stream.get("evaluate_after"), list) and all(isinstance(each, int) for each in after):
        stream["evaluate_after"] = _evaluated(own, whole, after) or None


def _evaluated(own: Asked, whole: Scenario, after: list[int]) -> list[int]:
    """The numbers of events after which is evaluated, as shares of all events, at releases."""
    trial = own.copied()
    trial.values["stream"].pop("evaluate_after")
    stream = trial.scenario().stream
    every = stream.release.every if stream.release.plain and stream.release.every else 1
    found = set()
    for count in after:
        share = count / max(1, whole.stream.events)
        exact = stream.events if share >= 1 else every * math.floor(share * stream.events / every)
        found.add(min(exact, stream.events))
    return sorted(found - {0})
