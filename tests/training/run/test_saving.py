"""The best checkpoint of a run, and what a kill leaves of it."""

import logging
from pathlib import Path

import pytest

from tests.support.checkpoints import DIGITS, stirred
from tests.support.paths import FASHION_MNIST
from training.checkpoint import checkpoints
from training.checkpoint.networks import initial_network, open_trained
from training.data.batches import TrainingData
from training.data.datasets import open_dataset
from training.errors import OutputError
from training.metrics import Metrics
from training.run.folder import RunFolder, Saver
from training.settings.train_config import TrainConfig


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run whose best checkpoint has a top-1 of 0.5."""
    folder = RunFolder(tmp_path / "2026-01-01")
    saver(folder).save_if_best(1, 10, top1(0.5))
    return folder


def saver(folder: RunFolder, resume: Path | None = None) -> Saver:
    config = TrainConfig(recipe="smoke").model_copy(update={"resume": resume})
    data = TrainingData(open_dataset(FASHION_MNIST, "test"), config)
    return Saver(stirred("tiny", 10), config, folder, DIGITS, data)


def top1(value: float) -> Metrics:
    return Metrics(images=10, top1=value, top5=0.9)


def test_a_resumed_run_keeps_a_better_checkpoint(run: RunFolder) -> None:
    resumed = saver(run, resume=run.path)
    resumed.save_if_best(2, 20, top1(0.4))
    assert checkpoints.load(run.best).info.step == 10
    resumed.save_if_best(3, 30, top1(0.6))
    assert checkpoints.load(run.best).info.step == 30


def test_whoever_opens_a_checkpoint_evaluates_it_as_its_run_did(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainConfig(recipe="smoke", num_classes=10, eval_mirror=True)
    data = TrainingData(open_dataset(FASHION_MNIST, "test"), config)
    saver = Saver(initial_network(config), config, RunFolder(tmp_path / "run"), DIGITS, data)
    saver.save_if_best(1, 10, top1(0.5))
    assert saver.best
    with caplog.at_level(logging.INFO):
        assert open_trained(saver.best.path, None).net.eval_mirror
    assert "best_acc.ckpt answers with the mean of each image and its mirror image" in caplog.text
    plain = TrainConfig(recipe="smoke", num_classes=10, pretrained=saver.best.path)
    assert not initial_network(plain).eval_mirror


def test_a_best_checkpoint_of_two_halves_is_written_again(
    run: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """The process dies once the .json of step 20 is there, but not yet its weights."""
    old = run.best.read_bytes()
    saver(run).save_if_best(2, 20, top1(0.6))
    run.best.write_bytes(old[:-1] + bytes([old[-1] ^ 1]))
    with caplog.at_level(logging.WARNING):
        resumed = saver(run, resume=run.path)
    assert "best_acc.ckpt is damaged" in caplog.text
    assert "the next evaluation writes it again" in caplog.text
    resumed.save_if_best(2, 20, top1(0.6))
    assert checkpoints.load(run.best).info.step == 20


def test_a_link_that_a_killed_process_left_is_no_obstacle(run: RunFolder) -> None:
    (run.path.parent / ".2026-01-01.link").symlink_to("2026-01-01")
    run.publish()
    assert (run.path.parent / "latest").readlink() == Path("2026-01-01")


def test_a_link_that_cannot_be_made_is_an_error_that_says_so(run: RunFolder) -> None:
    latest = run.path.parent / "latest"
    latest.unlink()
    latest.mkdir()
    with pytest.raises(OutputError, match=f"cannot write {latest}: Is a directory"):
        run.publish()
