"""What MLflow's own client finds in the database beside the runs."""

import logging
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.training.run.test_report import largest_file, record
from training.errors import TrackerError
from training.settings.train_config import TrainConfig
from training.trackers.tracker import Tracking, open_tracker

# More than MLflow takes in a call.
MORE = {f"more_{number}": number for number in range(100)}
SETTINGS = TrainConfig(recipe="smoke").model_dump(mode="json") | MORE

# MLflow uses what SQLAlchemy 2.1 warns of.
MLFLOWS_OWN = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
# It takes seconds to import, and more to make a database.
pytestmark = [pytest.mark.slow, MLFLOWS_OWN]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, with one database."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture
def run(runs: Path, request: pytest.FixtureRequest) -> Path:
    folder = runs / request.node.name
    folder.mkdir()
    return folder


def tracked(run: Path, step: int = 0, **changes: object) -> Tracking:
    return Tracking(open_tracker("mlflow", run, step, SETTINGS | changes))


def client(run: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{run.parent / 'mlflow.db'}")


def found(run: Path) -> Run:
    """Return the one run of that name."""
    [experiment] = client(run).search_experiments(filter_string="name = 'resnext'")
    ids = [experiment.experiment_id]
    [one] = client(run).search_runs(ids, f"attributes.run_name = '{run.name}'")
    return one


def history(run: Path, name: str) -> list[tuple[int, float]]:
    points = client(run).get_metric_history(found(run).info.run_id, name)
    return [(point.step, point.value) for point in points]


def test_each_number_of_an_epoch_is_a_metric_after_its_step(run: Path) -> None:
    tracking = tracked(run)
    epochs = [record(1), record(2).model_copy(update={"top1": 0.5, "loss": 0.25})]
    for epoch in epochs:
        tracking.add(epoch.model_dump())
    assert found(run).info.status == "RUNNING"
    tracking.close("FINISHED")
    data = found(run).data
    assert set(data.metrics) == set(epochs[1].model_dump(exclude_none=True)) - {"step"}
    assert history(run, "loss") == [(10, 1.0), (20, 0.25)]
    assert history(run, "top1") == [(20, 0.5)]
    assert data.params == {name: str(value) for name, value in SETTINGS.items()}
    assert found(run).info.status == "FINISHED"
    assert found(run).info.artifact_uri.startswith((run.parent / "mlruns").as_uri())


def test_a_resumed_run_is_the_same_run(run: Path) -> None:
    killed = tracked(run)
    killed.add(record(1).model_dump())
    killed.close("KILLED")
    assert found(run).info.status == "KILLED"
    tracking = tracked(run, step=10, lr=0.7)
    assert found(run).info.status == "RUNNING"
    tracking.add(record(2).model_dump())
    assert [step for step, _ in history(run, "loss")] == [10, 20]
    assert found(run).data.params["lr"] == str(SETTINGS["lr"])


def test_a_full_disk_is_told_of_once_and_nothing_is_lost(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracking = tracked(run)
    with largest_file(1), caplog.at_level(logging.WARNING, "training"):
        for epoch in (1, 2):
            tracking.add(record(epoch).model_dump())
    assert tracking.waiting == 2
    [told] = [entry.message for entry in caplog.records if entry.name.startswith("training")]
    assert told.startswith("the tracker has failed (MlflowException: ")
    tracking.close("FINISHED")
    assert tracking.waiting == 0
    assert [step for step, _ in history(run, "loss")] == [10, 20]


def test_a_server_that_does_not_answer_is_an_error_at_the_start(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackerError, match=r"with mlflow \(MlflowException: .* --tracker none"):
        tracked(run)
