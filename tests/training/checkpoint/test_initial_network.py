"""Starting from weights: ours or the upstream's, for the same classes or for others."""

import logging
from pathlib import Path

import numpy as np
import pytest
from mindspore import nn
from safetensors.numpy import save_file

from tests.support.checkpoints import stirred, write_checkpoint
from tests.support.upstream import grouped, split, with_optimiser
from tests.training.checkpoint.test_upstream import write
from training.checkpoint.networks import initial_network
from training.errors import CheckpointError
from training.settings.train_config import TrainConfig


def start(pretrained: Path, classes: int = 10) -> nn.Cell:
    return initial_network(
        TrainConfig(architecture="tiny", num_classes=classes, pretrained=pretrained)
    )


def same(one: nn.Cell, other: nn.Cell) -> set[str]:
    ours, theirs = grouped(one), grouped(other)
    return {name for name in ours if np.array_equal(ours[name], theirs[name])}


def test_weights_of_ours_of_the_upstream_and_of_safetensors_are_taken(tmp_path: Path) -> None:
    net = stirred("tiny", 10)
    files = [
        write_checkpoint(tmp_path / "ours.ckpt"),
        write(tmp_path / "upstream.ckpt", with_optimiser(split(net))),
        tmp_path / "bare.safetensors",
    ]
    save_file(with_optimiser(grouped(net)), files[2])
    for file in files:
        assert same(start(file), net) == grouped(net).keys()


def test_other_classes_keep_the_backbone_and_get_a_new_head(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = stirred("tiny", 10)
    path = write(tmp_path / "upstream.ckpt", grouped(net))
    with caplog.at_level(logging.INFO):
        seven = start(path, classes=7)
    assert "weights know 10 classes, this run has 7: backbone kept, head new" in caplog.text
    assert seven.head.fc.weight.shape == (7, 32)
    assert same(seven, net) == {name for name in grouped(net) if not name.startswith("head.")}


def test_other_classes_do_not_excuse_another_backbone(tmp_path: Path) -> None:
    found = grouped(stirred("tiny", 10))
    del found["backbone.bn.gamma"]
    with pytest.raises(CheckpointError, match=r"missing: backbone.bn.gamma"):
        start(write(tmp_path / "upstream.ckpt", found), classes=7)
