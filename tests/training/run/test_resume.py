"""A run that is killed and resumed is the run that was never killed."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.training.conftest import start
from tests.training.data.test_datasets import image_folder
from tests.training.test_train import finish, wait_for_line
from tests.training.trackers.test_tensorboard import steps
from training.checkpoint import checkpoints
from training.errors import CheckpointError
from training.run.folder import RunFolder
from training.settings.files import (
    check_same_settings,
    check_same_size,
    find_run,
    newest_checkpoint,
)
from training.settings.train_config import TrainConfig
from training.train import main

SMALL = ("--train-images", "640", "--per-batch-size", "32")
SHORT = (*SMALL, "--max-epoch", "4", "--T-max", "4", "--shift", "2")
OFTEN = ("--ckpt-interval", "7", "--log-interval", "1", "--run-eval", "0")
SCALE = ("--is-dynamic-loss-scale", "1")
GROWING = ("--progressive-scales", "0.5", "--progressive-epochs", "2")
MIXED = ("--mixup", "0.8", "--cutmix", "1", "--random-erasing", "0.5", "--randaugment", "2,9")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_and_resumed_it_trains_as_if_never_killed(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    command = ("training.train", "--recipe", "smoke", *SHORT, *OFTEN, *SCALE)
    command = (*command, *MIXED, *GROWING, "--ckpt-path")
    killed = start(*command, cut)
    wait_for_line(killed, "step 31/80 ")
    killed.send_signal(signal.SIGKILL)
    finish(killed, code=-signal.SIGKILL)
    newest = newest_checkpoint(find_run(cut))
    assert json.loads(newest.with_suffix(".json").read_text())["step"] % 20
    resumed = start("training.train", "--resume", cut)
    finish(start(*command, whole))
    told = finish(resumed)
    assert f"resumed from {newest}" in told
    assert told.count("reduces training images to 14 x 14 pixels") == 1
    for name, value in end(whole).items():
        np.testing.assert_allclose(end(cut)[name], value, rtol=0, atol=1e-6, err_msg=name)
    assert losses(cut) == pytest.approx(losses(whole), abs=1e-6)
    assert len(losses(cut)) == 4
    assert steps(find_run(cut)) == steps(find_run(whole)) == [20, 40, 60, 80]


def end(outputs: Path) -> checkpoints.Arrays:
    newest = newest_checkpoint(find_run(outputs))
    assert newest.name == "0-4_20.ckpt"
    return checkpoints.read_arrays(newest) | checkpoints.read_arrays(newest.with_suffix(".npz"))


def losses(outputs: Path) -> list[float]:
    [report] = outputs.glob("2*/metrics.jsonl")
    return [json.loads(line)["loss"] for line in report.read_text().splitlines()]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two checkpoints, and an older one beside it; their weights are of no interest."""
    for time, names in (("2026-01-01", ["0-9_9"]), ("2026-01-02", ["0-2_10", "0-10_2"])):
        folder = tmp_path / time / "ckpt_0"
        folder.mkdir(parents=True)
        for name in names:
            config = TrainConfig(recipe="smoke", lr=0.7, group_size=1).model_dump(mode="json")
            (folder / f"{name}.json").write_text(json.dumps({"config": config}))
            for suffix in (".ckpt", ".npz"):
                (folder / f"{name}{suffix}").touch()
    (tmp_path / "latest").symlink_to("2026-01-01")
    return tmp_path / "2026-01-02"


def test_the_newest_checkpoint_of_the_newest_run_is_resumed(run: Path) -> None:
    assert find_run(run) == find_run(run.parent) == run
    assert newest_checkpoint(run).name == "0-10_2.ckpt"
    assert find_run(run.parent / "latest") == run.parent / "2026-01-01"


def test_a_checkpoint_without_weights_is_not_there_yet(run: Path) -> None:
    (run / "ckpt_0/0-10_2.ckpt").unlink()
    assert newest_checkpoint(run).name == "0-2_10.ckpt"


def test_a_run_before_its_first_checkpoint_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing to resume: .* holds no ckpt_0"):
        find_run(tmp_path)


def test_settings_come_from_the_run_unless_said_otherwise(run: Path) -> None:
    resumed = TrainConfig(resume=run)
    assert (resumed.lr, resumed.architecture, resumed.resume) == (0.7, "tiny", run)
    assert TrainConfig(resume=run, lr=0.2, recipe="fashion_mnist_cpu").lr == 0.2


def dumped(config: TrainConfig) -> dict[str, object]:
    return config.model_dump(mode="json")


def test_what_gives_the_state_its_meaning_cannot_change(run: Path) -> None:
    before = dumped(TrainConfig(recipe="smoke"))
    check_same_settings(dumped(TrainConfig(resume=run, lr=0.1, log_interval=3)), before)
    changed = TrainConfig(resume=run, per_batch_size=32, seed=9)
    with pytest.raises(CheckpointError, match="seed=1, not 9, per_batch_size=64, not 32"):
        check_same_settings(dumped(changed), before)


@pytest.mark.slow
def test_a_dataset_of_another_size_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The order of the images, and what a step is of an epoch, would no longer be those before."""
    images = image_folder(tmp_path / "mine", ["ant", "bee"])
    own = ("--num-classes", "2", "--per-batch-size", "2", "--data-dir", images)
    short = ("--max-epoch", "1", "--run-eval", "0", "--ckpt-path", tmp_path / "outputs")
    finish(start("training.train", "--recipe", "smoke", *own, *short))
    shutil.copy(images / "bee/0.png", images / "bee/more.png")
    assert main(["--resume", str(tmp_path / "outputs")]) == 1
    told = "began with 3 training images, 1 steps an epoch; --data-dir now has 4, 2"
    assert told in capsys.readouterr().err


def test_a_checkpoint_of_before_the_sizes_can_be_resumed() -> None:
    shipped = checkpoints.read_info(ROOT / "models/checkpoints/fashion_resnext.ckpt")
    assert shipped.training_images is None
    check_same_size((5, 2), (shipped.training_images, shipped.steps_per_epoch))


def test_what_a_killed_process_was_writing_is_removed(run: Path) -> None:
    unfinished = run / "ckpt_0/.writing-x"
    unfinished.mkdir()
    (unfinished / "0-10_3.ckpt").touch()
    folder = RunFolder.open(TrainConfig(resume=run.parent))
    assert folder.path == run
    assert not unfinished.exists()


def test_only_the_newest_checkpoints_are_kept(run: Path) -> None:
    (run / "best_acc.ckpt").touch()
    RunFolder(run).remove_old(keep=1)
    left = sorted(path.name for path in run.glob("**/*") if path.is_file())
    assert left == ["0-10_2.ckpt", "0-10_2.json", "0-10_2.npz", "best_acc.ckpt"]


def test_names_count_epochs_and_their_steps_from_one_as_the_upstream_does() -> None:
    folder = RunFolder(Path("run"), rank=3)
    assert folder.step_checkpoint(10009 * 148, 10009) == Path("run/ckpt_3/3-148_10009.ckpt")
    assert folder.step_checkpoint(21, 20).name == "3-2_1.ckpt"
