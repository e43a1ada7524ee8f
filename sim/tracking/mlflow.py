"""MLflow: a run in ``tracking/mlflow.db``, or at the server that MLFLOW_TRACKING_URI names.

x is events. The metric ``rows`` counts the rows that are there: it is written with the last of a row's metrics. Parameters
cannot be changed once they are there, so who goes on with the run leaves them.
"""

import os
import re
import time
from collections.abc import Mapping

from sim.tracking.tracker import Place, Row

ROWS, IDENTITY = "rows", "unmerge.run"
MOST_METRICS, MOST_PARAMETERS, LONGEST = 1000, 100, 6000
"""What MLflow takes at once, and characters of a parameter."""
RETRIES = "4"
"""Of a request to a server that does not answer: less than a minute. MLflow's own seven take over four, and a run waits."""


class MLflow:
    def __init__(self, place: Place) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", RETRIES)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(place.folder / 'mlflow.db').resolve()}"
        self.client = MlflowClient(tracking_uri=uri)
        found = self.client.get_experiment_by_name(place.project)
        experiment = found.experiment_id if found else self._experiment(place, uri)
        runs = self.client.search_runs([experiment], f"tags.`{IDENTITY}` = '{place.identity}'")
        self.run = (
            runs[0] if runs else self.client.create_run(experiment, tags={IDENTITY: place.identity}, run_name=place.title)
        )
        self.id = self.run.info.run_id
        there = self.run.data.params
        told = [
            Param(_name(key), str(value)[:LONGEST]) for key, value in place.parameters.items() if _name(key) not in there
        ]
        for start in range(0, len(told), MOST_PARAMETERS):
            self.client.log_batch(self.id, params=told[start : start + MOST_PARAMETERS])
        self.known = self._last(ROWS)
        self.client.update_run(self.id, status="RUNNING")

    def log(self, row: Row) -> None:
        self._metrics({**row.series, ROWS: row.number + 1}, {ROWS: row.number}, row.events)
        self.known = row.number + 1

    def end(self, summary: Mapping[str, float]) -> None:
        last = self.client.get_run(self.id).data.metrics
        changed = {key: value for key, value in summary.items() if last.get(_name(f"summary/{key}")) != value}
        self._metrics({f"summary/{key}": value for key, value in changed.items()}, {}, self.known)
        self.client.set_terminated(self.id)

    def close(self) -> None:
        pass

    def _experiment(self, place: Place, uri: str) -> str:
        where = str((place.folder / "mlflow-artifacts").resolve()) if uri.startswith("sqlite:") else None
        return str(self.client.create_experiment(place.project, artifact_location=where))

    def _metrics(self, values: Mapping[str, float], steps: Mapping[str, int], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        told = [Metric(_name(key), value, now, steps.get(key, step)) for key, value in values.items()]
        for start in range(0, len(told), MOST_METRICS):
            self.client.log_batch(self.id, metrics=told[start : start + MOST_METRICS])

    def _last(self, key: str) -> int:
        return max((int(metric.value) for metric in self.client.get_metric_history(self.id, key)), default=0)


def _name(text: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", text, flags=re.ASCII)
