"""MLflow: a database beside the runs, outputs/mlflow.db, or the server in MLFLOW_TRACKING_URI."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Before the import: it would report its use to its makers, and wait minutes for a dead server.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from training.trackers.tracker import Ending, Values

RUN_ID = "mlflow_run_id"
EXPERIMENT = "resnext"
AT_ONCE = 100  # MLflow takes no more parameters in a call

logger = logging.getLogger(__name__)


class Mlflow:
    """One run of MLflow for a run; its id is kept in the run's folder, for a resumed run."""

    def __init__(self, run: Path) -> None:
        beside, server = run.resolve().parent, os.environ.get("MLFLOW_TRACKING_URI")
        uri = server or f"sqlite:///{beside / 'mlflow.db'}"
        self._client = MlflowClient(uri)
        kept = run / RUN_ID
        self._is_new = not kept.exists()
        if self._is_new:
            # Else what a person adds to the run would lie in the folder that this process runs in.
            artifacts = None if server else (beside / "mlruns").as_uri()
            created = self._client.create_run(self._experiment(artifacts), run_name=run.name)
            kept.write_text(created.info.run_id)
        self._id = kept.read_text()
        self._client.update_run(self._id, status="RUNNING")
        logger.info("epochs also go to MLflow at %s, run %s", uri, self._id)

    def config(self, settings: Mapping[str, Any]) -> None:
        """Log the settings as parameters, which cannot change: those of a resumed run stay."""
        if self._is_new:
            params = [Param(name, str(value)) for name, value in settings.items()]
            for start in range(0, len(params), AT_ONCE):
                self._client.log_batch(self._id, params=params[start : start + AT_ONCE])

    def epoch(self, step: int, values: Values) -> None:
        """Log the numbers of an epoch as metrics."""
        now = round(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, ending: Ending) -> None:
        """End the run with this status."""
        self._client.set_terminated(self._id, ending)

    def _experiment(self, artifacts: str | None) -> str:
        """Return the id of the experiment; if it is new, artifacts of its runs go to that URI."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=artifacts))
