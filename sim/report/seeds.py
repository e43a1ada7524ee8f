"""What differs between the seeds of a run, which its summary has means of: the least and the most at each evaluation."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from clients.errors import InputError
from sim.life.record import PROGRESS
from sim.report.summary import Summary

KEYS = {"held_in": "held_in", "held_out": "held_out", "steps": "gradient_steps"}
"""What the figures call it, and how a seed's curve does."""

Bounds = list[tuple[float | None, float | None]]


def bounds_of(run: Path, summary: Summary) -> dict[str, dict[str, Bounds]]:
    """Least and most over seeds along the curve of each label; nothing with one seed, or where the state is not there.

    A folder may have been given on without its state; its report then has no bands.

    Raises:
        InputError: what a seed has come to is damaged.
    """
    paths = [run / "state" / str(seed) / PROGRESS for seed in summary.seeds]
    if len(paths) < 2 or not all(path.exists() for path in paths):
        return {}
    curves = [_curve(path) for path in paths]
    return {
        label: {key: _over([_values(curve, label, name) for curve in curves]) for key, name in KEYS.items()}
        for label, points in summary.curve.items()
        if all(len(curve) == len(points) and all(label in each["strategies"] for each in curve) for curve in curves)
    }


def _curve(path: Path) -> list[dict[str, Any]]:
    try:
        return TypeAdapter(list[dict[str, Any]]).validate_python(json.loads(path.read_text(encoding="utf-8"))["curve"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged, cannot be read as what a seed has come to ({error})") from error


def _values(curve: Sequence[Mapping[str, Any]], label: str, name: str) -> list[float | None]:
    return [point["strategies"][label][name] for point in curve]


def _over(seeds: Sequence[Sequence[float | None]]) -> Bounds:
    """Least and most of the values at each place; None where a seed has none, as the mean has none there."""
    return [_ends([value for value in values if value is not None], len(seeds)) for values in zip(*seeds, strict=True)]


def _ends(values: Sequence[float], needed: int) -> tuple[float | None, float | None]:
    return (min(values), max(values)) if len(values) == needed else (None, None)
