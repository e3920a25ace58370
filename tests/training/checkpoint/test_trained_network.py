"""Checkpoints that describe themselves, those of the upstream, and the way to evaluate both."""

import logging
from pathlib import Path

import numpy as np
import pytest

from images.transform import Size, Stretch
from tests.support.checkpoints import NORMALIZATION, stirred, write_checkpoint
from tests.support.paths import FASHION_MNIST
from tests.support.upstream import grouped, split, with_optimiser
from tests.training.checkpoint.test_upstream import write
from tests.training.conftest import start
from training.checkpoint.networks import open_trained
from training.data.dataset import Dataset
from training.errors import CheckpointError
from training.eval import main
from training.evaluation import Evaluator
from training.settings.config import EvalConfig


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as the upstream leaves it, of `tiny` with ten classes."""
    return write_bare(tmp_path_factory.mktemp("upstream") / "bare.ckpt", 10)


def write_bare(path: Path, classes: int) -> Path:
    return write(path, with_optimiser(split(stirred("tiny", classes))))


def test_ours_describes_itself(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path / "ours.ckpt")
    subject = open_trained(written, None)
    assert subject == open_trained(written, "tiny")._replace(net=subject.net)
    assert (subject.labels, subject.num_classes) == ([str(digit) for digit in range(10)], 10)
    assert (subject.transform.crop, subject.normalization) == (
        Size(height=28, width=28),
        NORMALIZATION,
    )


def test_ours_cannot_be_said_to_be_another(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path / "ours.ckpt")
    with pytest.raises(CheckpointError, match=r"says resnext14_8x4d, but .* is tiny; leave it out"):
        open_trained(written, "resnext14_8x4d")


def test_the_upstreams_is_evaluated_as_the_upstream_does(bare: Path) -> None:
    subject = open_trained(bare, "tiny")
    assert (subject.labels, subject.num_classes) == (None, 10)
    assert subject.transform.resize == Stretch(height=256, width=256)
    assert (subject.transform.crop, subject.transform.antialias) == (
        Size(height=224, width=224),
        False,
    )
    np.testing.assert_allclose(subject.normalization.std, np.array([0.229, 0.224, 0.225]) * 255)


def test_the_upstreams_is_recognised(bare: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert open_trained(bare, None).architecture == "tiny"
    assert f"{bare}: tiny, by the names and shapes of its weights" in caplog.text


def test_what_is_of_no_member_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    saved = grouped(stirred("tiny", 10))
    kept = {n: v for n, v in saved.items() if not n.startswith("backbone.layer2")}
    path = write(tmp_path / "shallow.ckpt", kept)
    with pytest.raises(CheckpointError, match=r"no shallow\.json .*no architecture .*tiny"):
        open_trained(path, None)


@pytest.mark.slow
def test_the_command_evaluates_the_upstreams(bare: Path, test_set: Dataset, tmp_path: Path) -> None:
    arguments = ("--pretrained", bare, "--data-dir", FASHION_MNIST, "--eval-images", "40")
    others = ("--per-batch-size", "8", "--report-path", tmp_path)
    process = start("training.eval", *arguments, *others)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    _, _, _, _, *as_in_training = open_trained(bare, "tiny")
    net = stirred("tiny", 10)
    config = EvalConfig(pretrained=bare, eval_images=40)
    evaluation = Evaluator(net, test_set, *as_in_training, 8, config).evaluate()
    for line in evaluation.lines()[1:]:
        assert line in output


def test_another_number_of_classes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_bare(tmp_path / "three.ckpt", 3)
    assert main(["--pretrained", str(path)]) == 1
    assert f"{path} knows 3 classes; {FASHION_MNIST} has 10" in capsys.readouterr().err
