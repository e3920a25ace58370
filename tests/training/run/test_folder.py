"""Where a run would keep its files, and cannot."""

from pathlib import Path

import pytest

from training.errors import DivergedError, OutputError
from training.launch import launch
from training.run.folder import RunFolder
from training.settings.train_config import TrainConfig


def test_a_folder_that_cannot_be_made_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = TrainConfig(recipe="smoke", ckpt_path=tmp_path / "file")
    with pytest.raises(OutputError, match=r"cannot write .*/file/.*: File exists"):
        RunFolder.create(config, now=0)


def test_runs_that_start_at_once_each_get_a_folder(tmp_path: Path) -> None:
    config = TrainConfig(recipe="smoke", ckpt_path=tmp_path)
    paths = [RunFolder.create(config, now=0).path for _ in range(3)]
    name = paths[0].name
    assert [path.name for path in paths] == [name, f"{name}_1", f"{name}_2"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_the_log_says_why_a_run_failed_whatever_the_rank(tmp_path: Path) -> None:
    for rank, error in ((0, DivergedError("the loss is nan")), (3, RuntimeError("odd"))):
        with pytest.raises(type(error)), RunFolder(tmp_path, rank).logging():
            raise error
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [line.partition(":ERROR:")[2] for line in lines] == [
        "rank 0: the loss is nan",
        "rank 3: RuntimeError('odd')",
    ]


def test_a_launcher_whose_logs_cannot_be_kept_starts_no_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = TrainConfig(
        recipe="smoke", ckpt_path=tmp_path / "file", is_distributed=True, group_size=2
    )
    with pytest.raises(OutputError, match=r"cannot write .*/file/workers/.*: Not a directory"):
        launch(config, ["no-such-program"])
