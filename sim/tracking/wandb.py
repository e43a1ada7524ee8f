"""Weights & Biases: offline files in ``tracking/wandb``, unless WANDB_MODE says otherwise; ``wandb sync`` uploads them.

Offline files cannot be asked what is in them, so each process that goes on with the run writes them anew, under the same id.
Online the server says how many rows it has. Its own step is the row's number; series are drawn over their seed's events.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sim.tracking.tracker import Place, Row

MODE = "WANDB_MODE"
TRIES, PAUSE = 20, 0.5
"""How often it is tried to open a run, and seconds in between."""


class WandB:
    def __init__(self, place: Place) -> None:
        import wandb

        mode = os.environ.get(MODE, "offline")
        if mode == "offline":
            shutil.rmtree(place.folder / "wandb", ignore_errors=True)
        place.folder.mkdir(parents=True, exist_ok=True)
        self.run = _opened(
            partial(
                wandb.init,
                project=place.project,
                id=place.identity,
                name=place.title,
                config=dict(place.parameters),
                resume="allow",
                dir=str(place.folder),
                mode=mode,
                reinit="create_new",  # one that the user has open in this process stays as it is
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True, save_code=False),
            )
        )
        self.known = 0 if mode == "offline" else int(self.run.step)
        for axis in place.axes:
            self.run.define_metric(f"{axis}/events")
            self.run.define_metric(f"{axis}/*", step_metric=f"{axis}/events")

    def log(self, row: Row) -> None:
        self.run.log({**row.series, f"{row.axis}/events": row.events}, step=row.number)

    def end(self, summary: Mapping[str, float]) -> None:
        self.run.summary.update({f"summary/{key}": value for key, value in summary.items()})

    def close(self) -> None:
        self.run.finish()


def _opened(opening: Callable[[], Any]) -> Any:
    """What ``opening`` returns; tried again while the library's own process still closes the run of a moment ago."""
    for _ in range(TRIES - 1):
        try:
            return opening()
        except Exception as error:
            if "in use" not in str(error):
                raise
            time.sleep(PAUSE)
    return opening()
