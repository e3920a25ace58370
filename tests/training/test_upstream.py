"""Checkpoints of the upstream scripts: both layouts, and nothing missing or left over."""

from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn, save_checkpoint

from tests.support.checkpoints import stirred
from tests.support.upstream import Parameters, grouped, split, with_optimiser
from training.errors import CheckpointError
from training.resnext import build
from training.upstream import load_network


@pytest.fixture(scope="module")
def network() -> nn.Cell:
    return stirred("tiny", 10)


def write(path: Path, saved: Parameters) -> Path:
    save_checkpoint([{"name": n, "data": Tensor(v)} for n, v in saved.items()], str(path))
    return path


@pytest.mark.parametrize("layout", [grouped, split])
@pytest.mark.parametrize("wrap", [dict, with_optimiser])
def test_both_layouts_give_the_same_network(layout, wrap, network, tmp_path):
    path = write(tmp_path / "upstream.ckpt", wrap(layout(network)))
    loaded, classes = load_network(path, "tiny")
    assert classes == 10
    assert not loaded.training
    for name, value in grouped(loaded).items():
        np.testing.assert_array_equal(value, grouped(network)[name])


def test_the_layouts_differ(network):
    assert "backbone.layer1.0.conv2.convs.1.weight" in split(network)
    assert "backbone.layer1.0.conv2.weight" in grouped(network)
    assert len(split(network)) == len(grouped(network)) + 2


def test_the_full_network_is_split_into_64(tmp_path):
    saved = split(build("resnext152_64x4d", 3))
    parts = [name for name in saved if name.startswith("backbone.layer4.2.conv2.convs.")]
    assert len(parts) == 64
    load_network(write(tmp_path / "full.ckpt", saved), "resnext152_64x4d")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda p: p.pop("backbone.bn.gamma"), "missing: backbone.bn.gamma"),
        (lambda p: p.update(extra=np.ones(3)), "left over: extra"),
        (
            lambda p: p.pop("backbone.layer1.0.conv2.convs.0.weight"),
            "conv2.weight: parts missing: 0",
        ),
        (lambda p: p.pop("backbone.layer1.0.conv2.convs.1.weight"), "conv2.weight has shape"),
        (
            lambda p: p.update({"network.backbone.bn.gamma": np.ones(3)}),
            "network.backbone.bn.gamma and backbone.bn.gamma are the same weight",
        ),
        (
            lambda p: p.update({"backbone.layer1.0.conv2.weight": np.ones(3)}),
            r"layer1.0.conv2.weight and backbone.layer1.0.conv2.convs.\*.weight are the same",
        ),
        (lambda p: p.pop("head.fc.bias"), "holds no head.fc.bias"),
    ],
)
def test_what_does_not_fit_is_named(change, hint, network, tmp_path):
    saved = split(network)
    change(saved)
    with pytest.raises(CheckpointError, match=hint):
        load_network(write(tmp_path / "upstream.ckpt", saved), "tiny")


def test_what_is_no_checkpoint_is_named(tmp_path, network):
    with pytest.raises(CheckpointError, match="no file"):
        load_network(tmp_path / "nowhere.ckpt", "tiny")
    (tmp_path / "text.ckpt").write_text("no weights")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_network(tmp_path / "text.ckpt", "tiny")
    path = write(tmp_path / "upstream.ckpt", grouped(network))
    with pytest.raises(CheckpointError, match="unknown architecture 'vgg'"):
        load_network(path, "vgg")
