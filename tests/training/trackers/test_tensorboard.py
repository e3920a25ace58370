"""What TensorBoard's own reader finds in a run's folder."""

import json
import logging
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from tests.training.run.test_report import largest_file, record
from training.settings.train_config import TrainConfig
from training.trackers.tracker import Tracking, open_tracker

SETTINGS = TrainConfig(recipe="smoke").model_dump(mode="json")


def tracked(run: Path, step: int = 0) -> Tracking:
    return Tracking(open_tracker(None, run, step, SETTINGS))


def read(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run / "tensorboard")).Reload()


def ended(run: Path) -> int:
    """Return how the run ended, as one of the constants in `api_pb2`."""
    end = read(run).SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    return int(metadata.parse_session_end_info_plugin_data(end).status)


def steps(run: Path) -> list[int]:
    return [event.step for event in read(run).Scalars("loss")]


def test_each_number_of_an_epoch_is_a_scalar_after_its_step(tmp_path: Path) -> None:
    tracking = tracked(tmp_path)
    epochs = [record(1), record(2).model_copy(update={"top1": 0.5, "loss": 0.25})]
    for epoch in epochs:
        tracking.add(epoch.model_dump())
    tracking.close("FINISHED")
    found = read(tmp_path)
    names = set(epochs[1].model_dump(exclude_none=True)) - {"step"}
    assert set(found.Tags()["scalars"]) == names
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(10, 1.0), (20, 0.25)]
    assert [(e.step, e.value) for e in found.Scalars("top1")] == [(20, 0.5)]


def test_an_epoch_can_be_read_as_soon_as_it_is_over(tmp_path: Path) -> None:
    tracked(tmp_path).add(record(1).model_dump())
    assert steps(tmp_path) == [10]


def test_the_settings_and_the_end_are_on_the_page_hparams(tmp_path: Path) -> None:
    tracked(tmp_path).close("FAILED")
    found = read(tmp_path).SummaryMetadata
    start = found(metadata.SESSION_START_INFO_TAG).plugin_data.content
    shown = metadata.parse_session_start_info_plugin_data(start).hparams
    assert shown["lr"].number_value == SETTINGS["lr"]
    assert shown["run_eval"].bool_value is SETTINGS["run_eval"]
    assert shown["architecture"].string_value == "tiny"
    assert json.loads(shown["image_size"].string_value) == [28, 28]
    assert ended(tmp_path) == api_pb2.STATUS_FAILURE


def test_a_resumed_run_goes_on_where_its_checkpoint_is(tmp_path: Path) -> None:
    killed = tracked(tmp_path)
    for epoch in (1, 2, 3):
        killed.add(record(epoch).model_dump())
    tracked(tmp_path, step=20).add(record(3).model_copy(update={"loss": 0.5}).model_dump())
    assert [(e.step, e.value) for e in read(tmp_path).Scalars("loss")] == [
        (10, 1.0),
        (20, 1.0),
        (30, 0.5),
    ]


def test_a_full_disk_is_told_of_once_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracking = tracked(tmp_path)
    tracking.add(record(1).model_dump())
    [events] = (tmp_path / "tensorboard").iterdir()
    with largest_file(events.stat().st_size + 20), caplog.at_level(logging.WARNING):
        for epoch in (2, 3):
            tracking.add(record(epoch).model_dump())
    assert tracking.waiting == 2
    [told] = [entry.message for entry in caplog.records]
    assert told.startswith("the tracker has failed (OSError: [Errno 27] File too large); ")
    assert steps(tmp_path) == [10]
    tracking.add(record(4).model_dump())
    assert tracking.waiting == 0
    assert steps(tmp_path) == [10, 20, 30, 40]
