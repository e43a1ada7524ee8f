"""TensorBoard: event files in ``tracking/tensorboard``, written anew by each process that goes on with the run.

A folder per seed and strategy, so that its charts compare strategies; x is events. The scenario and the summary are shown as
hyperparameters and metrics.
"""

import shutil
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from sim.tracking.tracker import Place, Row


class TensorBoard:
    def __init__(self, place: Place) -> None:
        self.known, self.place, self.folder = 0, place, place.folder / "tensorboard"
        shutil.rmtree(self.folder, ignore_errors=True)  # a reader that looks on sees each point once: see purge_step
        self.writers: dict[str, Any] = {}
        text = "\n".join(f"    {key}: {value}" for key, value in place.parameters.items())
        self._writer("").add_text("scenario", text)

    def log(self, row: Row) -> None:
        for label, values in row.values.items():
            writer = self._writer(f"{row.axis}/{quote(label, safe='')}")
            for key, value in values.items():
                writer.add_scalar(key, value, row.events)
            writer.flush()

    def end(self, summary: Mapping[str, float]) -> None:
        from torch.utils.tensorboard.summary import hparams

        file = self._writer("").file_writer
        for part in hparams(dict(self.place.parameters), dict(summary)):
            file.add_summary(part)
        for key, value in summary.items():
            self._writer("").add_scalar(key, value, 0)

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()

    def _writer(self, name: str) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        if name not in self.writers:
            self.writers[name] = SummaryWriter(str(self.folder / name), purge_step=0)
        return self.writers[name]
