"""Where a run would keep its files, and cannot."""

from pathlib import Path

import pytest

from training.errors import OutputError
from training.launch import launch
from training.run.folder import RunFolder
from training.settings.train_config import TrainConfig


def test_a_folder_that_cannot_be_made_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = TrainConfig(recipe="smoke", ckpt_path=tmp_path / "file")
    with pytest.raises(OutputError, match=r"cannot write .*/file/.*: Not a directory"):
        RunFolder.create(config, now=0)


def test_a_run_never_writes_into_the_folder_of_another(tmp_path: Path) -> None:
    config = TrainConfig(recipe="smoke", ckpt_path=tmp_path)
    RunFolder.create(config, now=0)
    with pytest.raises(OutputError, match="File exists"):
        RunFolder.create(config, now=0)


def test_a_launcher_whose_logs_cannot_be_kept_starts_no_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = TrainConfig(
        recipe="smoke", ckpt_path=tmp_path / "file", is_distributed=True, group_size=2
    )
    with pytest.raises(OutputError, match=r"cannot write .*/file/workers/.*: Not a directory"):
        launch(config, ["no-such-program"])
