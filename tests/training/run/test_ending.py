"""Runs in this process: what they end with, and when."""

import logging
from pathlib import Path

import mindspore
import numpy as np
import pytest

from training.checkpoint import checkpoints
from training.checkpoint.networks import open_trained
from training.data.datasets import open_dataset
from training.errors import DivergedError
from training.evaluation import Evaluator
from training.run.folder import RunFolder
from training.run.loop import Outcome, Trainer, train
from training.settings.files import step_checkpoints
from training.settings.train_config import TrainConfig

pytestmark = pytest.mark.slow

SMALL = {"train_images": 128, "eval_images": 200, "per_batch_size": 16, "shift": 1}
EVERYTHING = {"ema": 0.9, "accumulate": 2, "opt": "adamw", "lr": 0.01, "is_dynamic_loss_scale": 1}


def run(outputs: Path, number: int = 0, **settings: object) -> tuple[Outcome, Path]:
    config = TrainConfig(recipe="smoke", ckpt_path=outputs, **(SMALL | settings))
    folder = RunFolder.open(config) if config.resume else RunFolder.create(config, number)
    with folder.logging():
        return train(config, folder), folder.path


def test_latest_never_points_to_a_run_that_diverged_before_its_first_checkpoint(
    tmp_path: Path,
) -> None:
    with pytest.raises(DivergedError):
        run(tmp_path, 0, lr=1e30)
    assert not (tmp_path / "latest").is_symlink()
    _, good = run(tmp_path, 1, max_epoch=1)
    assert (tmp_path / "latest").resolve() == good
    with pytest.raises(DivergedError):
        run(tmp_path, 2, lr=1e30)
    assert (tmp_path / "latest").resolve() == good
    assert len(list(tmp_path.glob("19*"))) == 3


def test_patience_ends_a_run_that_no_longer_improves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With its backbone frozen and next to no rate the network answers the same each time."""
    still = {"freeze": ["backbone"], "lr": 1e-30, "max_epoch": 9, "patience": 2}
    with caplog.at_level(logging.INFO):
        outcome, folder = run(tmp_path, **still)
    assert "no better top-1 in 2 evaluations: the run ends" in caplog.text
    assert not outcome.stopped
    assert outcome.metrics is not None
    assert outcome.best is not None
    assert outcome.best.epoch == 1
    newest = step_checkpoints(folder / "ckpt_0")[-1]
    assert newest.name == "0-3_8.ckpt"
    again, _ = run(tmp_path, resume=folder)
    assert again.metrics is not None
    assert again.metrics.top1 == outcome.metrics.top1
    assert step_checkpoints(folder / "ckpt_0")[-1] == newest


def test_an_interrupted_run_with_everything_ends_as_the_whole_one(tmp_path: Path) -> None:
    """Four steps of 32 images an epoch; the cut comes after the sixth of eight."""
    outcome, whole = run(tmp_path / "whole", **EVERYTHING)
    config = TrainConfig(recipe="smoke", ckpt_path=tmp_path / "cut", **(SMALL | EVERYTHING))
    mindspore.set_seed(config.seed)
    trainer = Trainer(config, RunFolder.create(config, 0))
    trainer.run_epoch(lambda: False)
    trainer.run_epoch(lambda: trainer.step == 6)
    assert trainer.stopped
    trainer.save_step()
    resumed, cut = run(tmp_path / "cut", resume=tmp_path / "cut")
    names = ["0-1_4.ckpt", "0-2_4.ckpt"]
    assert [path.name for path in step_checkpoints(whole / "ckpt_0")] == names
    names.insert(1, "0-2_2.ckpt")
    assert [path.name for path in step_checkpoints(cut / "ckpt_0")] == names
    for suffix in (".ckpt", ".npz"):
        expected, found = (
            checkpoints.read_arrays((path / "ckpt_0/0-2_4").with_suffix(suffix))
            for path in (whole, cut)
        )
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-6, err_msg=name)
    assert resumed.metrics is not None
    assert outcome.metrics is not None
    assert resumed.metrics.top1 == outcome.metrics.top1


def test_the_average_is_what_is_evaluated_and_saved(tmp_path: Path) -> None:
    outcome, folder = run(tmp_path, ema=0.9, max_epoch=1)
    assert outcome.best is not None
    net, _, _, _, *as_in_training = open_trained(outcome.best.path, None)
    config = TrainConfig(recipe="smoke", **SMALL)
    test_set = open_dataset(config.data_dir, "test")
    found = Evaluator(net, test_set, *as_in_training, 128, config).evaluate().metrics
    assert found.top1 == outcome.best.metrics.top1
    assert found.loss == pytest.approx(outcome.best.metrics.loss, abs=1e-5)
    newest = step_checkpoints(folder / "ckpt_0")[-1]
    average, state = (
        checkpoints.read_arrays(newest),
        checkpoints.read_arrays(newest.with_suffix(".npz")),
    )
    for name, value in checkpoints.read_arrays(outcome.best.path).items():
        np.testing.assert_array_equal(value, average[name])
    assert np.abs(state["network.head.fc.weight"] - average["head.fc.weight"]).max() > 1e-4
