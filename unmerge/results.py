"""Folders of runs and studies as objects: what they have come to as pandas frames, and what is served as PyTorch modules."""

from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from clients.errors import InputError
from sim.export.folder import export
from sim.export.serving import serving
from sim.life import ledger
from sim.life.record import PHASES, PROGRESS, ROWS
from sim.life.saved import LEDGER, SCENARIO, SUMMARY
from sim.life.system import read_json
from sim.report.study_results import STUDY
from sim.scenario.file import load_scenario
from sim.scenario.model import Scenario
from sim.study.results import POINTS, flat, read_rows
from sim.study.study import is_study
from unmerge.asked import Overrides, sets_of


class Run:
    """A run folder. Everything is read when it is asked for, so that it is as the folder is then.

    Args:
        folder: of a run, finished or not.

    Raises:
        InputError: it is none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / SCENARIO).is_file():
            raise InputError(f"{self.folder}: not a run folder (no {SCENARIO} in it)")

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}{'' if self.finished else ', not finished'})"

    @cached_property
    def scenario(self) -> Scenario:
        """What was asked for, with every default filled in."""
        return load_scenario(str(self.folder / SCENARIO))

    @property
    def finished(self) -> bool:
        """Whether it has come to its end; what it had come to before a later command counts."""
        return (self.folder / SUMMARY).is_file()

    @property
    def summary(self) -> dict[str, Any]:
        """``summary.json``; InputError if it has not finished."""
        if not self.finished:
            raise InputError(f"{self.folder}: this run has not finished; go on with unmerge.resume")
        found: dict[str, Any] = read_json(self.folder / SUMMARY)
        return found

    @property
    def strategies(self) -> pd.DataFrame:
        """A row per strategy, indexed by label; columns are the numbers, texts and truth values of its entry in ``summary``,
        nested ones with dots between, as ``accuracy.held_in_after`` or ``gradient_steps.forget``."""
        rows = {label: flat(told) for label, told in self.summary["strategies"].items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("label")

    @property
    def metrics(self) -> pd.DataFrame:
        """A row per strategy, seed, evaluation and client: strategy, seed, tasks, events, deleted, client, split, metric,
        value."""
        paths = [self.folder / ROWS] if self.finished else sorted(self.folder.glob(f"state/*/{ROWS}"))
        if not paths:
            raise InputError(f"{self.folder}: nothing was evaluated yet")
        return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)

    @property
    def ledger(self) -> pd.DataFrame:
        """A row per event that was committed, in order; a column per field, NaN where an event has none."""
        return pd.DataFrame(list(ledger.read(self.folder / LEDGER))).set_index("n")

    @property
    def costs(self) -> pd.DataFrame:
        """A row per seed, strategy and phase (learn, forget, join): gradient_steps, parallel_steps, client_tunings,
        evaluations, seconds of client work, bytes_down and bytes_up."""
        rows = []
        for path in sorted(self.folder.glob(f"state/*/{PROGRESS}"), key=lambda path: int(path.parent.name)):
            record = read_json(path)
            for phase in PHASES:
                rows += [
                    {"seed": record["seed"], "strategy": label, "phase": phase, **cost}
                    for label, cost in record[phase].items()
                ]
        return pd.DataFrame(rows)

    def served(
        self, strategy: str, client: str | None = None, seed: int | None = None, overrides: Overrides | None = None
    ) -> torch.nn.Module:
        """What a client is served after the last release: a module of transformers with a forward of its own, a copy.

        Args:
            strategy: its label.
            client: a member; anybody else, and None, get what anybody is served.
            seed: one of the run's; default the first.
            overrides: of ``data.source`` or ``model.base``, where they lie elsewhere now.

        Raises:
            InputError: the run has not finished, there is no such strategy, client or seed, or what is served is not one
                model: a head on the frozen model (ridge, label_prior, ...), an ensemble, a tangent space.
        """
        module: torch.nn.Module = serving(self.folder, strategy, client, seed, sets_of(overrides)).library.module
        return module

    def export(
        self,
        folder: str | Path,
        strategy: str,
        client: str | None = None,
        seed: int | None = None,
        overrides: Overrides | None = None,
    ) -> Path:
        """Write the same as a folder that ``from_pretrained`` opens, with tokenizer or image processor and a model card.

        Raises:
            InputError: as ``served``; or the folder exists already.
        """
        export(serving(self.folder, strategy, client, seed, sets_of(overrides)), Path(folder), client is not None)
        return Path(folder)


class Study:
    """A study's folder: a run for each point of a sweep and each seed.

    Args:
        folder: of a study, finished or not.

    Raises:
        InputError: it is none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not is_study(self.folder):
            raise InputError(f"{self.folder}: not a study's folder")

    def __repr__(self) -> str:
        return f"Study({str(self.folder)!r})"

    @property
    def summary(self) -> dict[str, Any]:
        """``study.json``: axes, seeds, strategies, how many points are done, verdicts; InputError if none is done yet."""
        found: dict[str, Any] = read_json(self.folder / STUDY)
        return found

    @property
    def results(self) -> pd.DataFrame:
        """A row per point, seed and strategy: ``point``, ``seed``, a column per axis, ``label``, then the fields of the
        strategy's entry in the point's summary, with dots between."""
        return pd.DataFrame(read_rows(self.folder))

    @property
    def points(self) -> dict[str, Run]:
        """The run of each point that has begun, by the point's name."""
        return {path.parent.name: Run(path.parent) for path in sorted(self.folder.glob(f"{POINTS}/*/{SCENARIO}"))}
