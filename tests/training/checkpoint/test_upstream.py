"""Checkpoints of the upstream scripts: both layouts, and nothing missing or left over."""

from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn, ops, save_checkpoint

from tests.support.checkpoints import stirred
from tests.support.upstream import Parameters, grouped, split, with_optimiser
from training.checkpoint import checkpoints
from training.checkpoint.bare import load_network
from training.errors import ArchitectureError, CheckpointError
from training.resnext import Bottleneck


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
    loaded, _, classes, _ = load_network(path, "tiny")
    assert classes == 10
    assert not loaded.training
    for name, value in grouped(loaded).items():
        np.testing.assert_array_equal(value, grouped(network)[name])


def test_the_layouts_differ(network):
    assert "backbone.layer1.0.conv2.convs.1.weight" in split(network)
    assert "backbone.layer1.0.conv2.weight" in grouped(network)
    assert len(split(network)) == len(grouped(network)) + 2


class SplitConvolution(nn.Cell):
    """A grouped convolution as the upstream computes it on Ascend: one convolution per group."""

    def __init__(self, grouped: nn.Conv2d, parts: list[np.ndarray]) -> None:
        super().__init__()
        self.parts = [Tensor(part) for part in parts]
        self.stride = grouped.stride

    def construct(self, x):
        pieces = zip(x.split(x.shape[1] // len(self.parts), axis=1), self.parts, strict=True)
        found = [ops.conv2d(piece, w, None, self.stride, "pad", 1) for piece, w in pieces]
        return ops.cat(found, axis=1)


@pytest.mark.slow
def test_both_layouts_of_a_large_network_give_the_same_logits(tmp_path):
    net = stirred("resnext50_32x4d", 3)
    images = Tensor(np.random.default_rng(1).normal(size=(1, 3, 64, 64)).astype(np.float32))
    whole, saved = net(images).asnumpy(), split(net)
    assert np.ptp(whole) > 0.1
    # Not .ckpt: MindSpore refuses one that is larger than the memory no cache of files fills.
    path = tmp_path / "full.safetensors"
    for layout in (saved, grouped(net)):
        checkpoints.write_arrays(layout, path)
        loaded = load_network(path).net
        np.testing.assert_array_equal(loaded(images).asnumpy(), whole)
    for name, block in net.cells_and_names():
        if isinstance(block, Bottleneck):
            parts = [saved[f"{name}.conv2.convs.{group}.weight"] for group in range(32)]
            block.conv2 = SplitConvolution(block.conv2, parts)
    np.testing.assert_allclose(net(images).asnumpy(), whole, atol=1e-4)


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
    with pytest.raises(ArchitectureError, match="unknown architecture 'vgg'"):
        load_network(path, "vgg")
