"""Studies that benchmarks play: each goes on where it was stopped."""

from collections.abc import Callable
from pathlib import Path

from sim.scenario.file import Asked
from sim.study import study


def play(folder: Path, asked: Callable[[], Asked]) -> None:
    """Play a study, or go on with what is there of it."""
    study.play(study.open_study(folder) if study.is_study(folder) else study.new_study(asked(), folder))
