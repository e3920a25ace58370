"""What W&B has written into a run's folder, without a server."""

import logging
import time
from pathlib import Path

import psutil
import pytest

from tests.support.wandb_files import config, exit_codes, history, records
from tests.training.run.test_report import record
from training.settings.train_config import TrainConfig
from training.trackers.tracker import Tracking, open_tracker

SETTINGS = TrainConfig(recipe="smoke").model_dump(mode="json")

pytestmark = pytest.mark.slow  # it takes seconds to import


def tracked(run: Path, step: int = 0) -> Tracking:
    return Tracking(open_tracker("wandb", run, step, SETTINGS))


def written(run: Path) -> list[Path]:
    """Return the files of the processes, oldest first, once their last records are in them.

    On a busy machine wandb's service writes those a moment after it has said that it has.
    """
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    end = time.monotonic() + 60
    while not all(exit_codes(file) for file in files):
        assert time.monotonic() < end
        time.sleep(0.01)
    return files


def test_an_epoch_is_logged_with_its_step_as_the_axis(tmp_path: Path) -> None:
    tracking = tracked(tmp_path)
    epochs = [record(1), record(2).model_copy(update={"top1": 0.5, "loss": 0.25})]
    for epoch in epochs:
        tracking.add(epoch.model_dump())
    tracking.close("FAILED")
    [file] = written(tmp_path)
    assert history(file) == [epoch.model_dump(exclude_none=True) for epoch in epochs]
    assert {name: config(file)[name] for name in SETTINGS} == SETTINGS
    axes = [entry.metric for entry in records(file) if entry.HasField("metric")]
    assert ("*", "step") in [(axis.glob_name, axis.step_metric) for axis in axes]
    assert exit_codes(file) == [1]


def test_a_resumed_run_is_the_same_run(tmp_path: Path) -> None:
    killed = tracked(tmp_path)
    killed.add(record(1).model_dump())
    killed.close("KILLED")
    tracking = tracked(tmp_path, step=10)
    tracking.add(record(2).model_dump())
    tracking.close("FINISHED")
    first, second = written(tmp_path)
    runs = [entry.run for file in (first, second) for entry in records(file)]
    assert {run.run_id for run in runs if run.run_id} == {(tmp_path / "wandb_run_id").read_text()}
    assert [row["step"] for file in (first, second) for row in history(file)] == [10, 20]
    assert exit_codes(first) + exit_codes(second) == [130, 0]


def test_a_dead_service_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracking = tracked(tmp_path)
    tracking.add(record(1).model_dump())
    services = [p for p in psutil.Process().children() if "wandb-core" in p.name()]
    for service in services:
        service.kill()
    psutil.wait_procs(services)
    with caplog.at_level(logging.WARNING, "training"):
        for epoch in (2, 3, 4):
            tracking.add(record(epoch).model_dump())
        tracking.close("FINISHED")
    told = [entry.message for entry in caplog.records if entry.name.startswith("training")]
    assert told[0].startswith("the tracker has failed (")
    assert told[1:] == [f"{tracking.waiting} epochs are in metrics.jsonl but not tracked"]
