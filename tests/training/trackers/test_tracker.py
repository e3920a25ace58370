"""Which tracker a run has, and what happens if it cannot have it."""

import sys
from pathlib import Path

import pytest

from training.errors import TrackerError
from training.settings.train_config import TrainConfig
from training.trackers.tracker import Tracking, open_tracker
from training.train import main


def test_unset_it_is_tensorboard_where_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_tracker(None, tmp_path, 0, {}) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    assert open_tracker(None, tmp_path, 0, {}) is None


def test_none_writes_nothing(tmp_path: Path) -> None:
    tracking = Tracking(open_tracker("none", tmp_path, 0, {}))
    tracking.add({"step": 1, "loss": 1.0})
    tracking.close("FINISHED")
    assert tracking.waiting == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_an_error_that_names_the_extra(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    assert main(["--recipe", "smoke", "--tracker", name]) == 2
    assert capsys.readouterr().err == (
        f"error: --tracker: the package {name} is not installed here; "
        f"pip install 'resnext-serving[{name}]', or choose another tracker, or none\n"
    )


def test_a_tracker_is_a_setting_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNEXT_TRACKER", "none")
    assert TrainConfig(recipe="smoke").tracker == "none"
    assert TrainConfig(recipe="smoke", tracker="tensorboard").tracker == "tensorboard"


def test_a_tracker_that_cannot_begin_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").touch()
    with pytest.raises(TrackerError, match=r"tensorboard \(FileExistsError: .* --tracker none"):
        open_tracker("tensorboard", tmp_path, 0, {})
