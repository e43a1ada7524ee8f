"""Trackio: a run in its local database (TRACKIO_DIR, by default in the user's cache), which ``trackio show`` reads.

The run is named after its folder and identity. The database says how many rows it has. x is events.
"""

import contextlib
import io
from collections.abc import Mapping

from sim.tracking.tracker import Place, Row

SUMMARY = "summary/"


class Trackio:
    def __init__(self, place: Place) -> None:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        name = f"{place.title}-{place.identity}"
        told = SQLiteStorage.get_logs(place.project, name)
        self.known = sum(not any(key.startswith(SUMMARY) for key in log) for log in told)
        self.last = {
            key.removeprefix(SUMMARY): value for log in told for key, value in log.items() if key.startswith(SUMMARY)
        }
        with contextlib.redirect_stdout(io.StringIO()):  # it tells how to open its page
            self.run = trackio.init(
                place.project,
                name=name,
                config=dict(place.parameters),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self.events = 0

    def log(self, row: Row) -> None:
        self.events = max(self.events, row.events)
        self.run.log(row.series, step=row.events)

    def end(self, summary: Mapping[str, float]) -> None:
        changed = {f"{SUMMARY}{key}": value for key, value in summary.items() if self.last.get(key) != value}
        if changed:
            self.run.log(changed, step=self.events)

    def close(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.run.finish()
