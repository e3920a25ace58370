"""The network family: upstream's names, shapes and sizes."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from mindspore import Tensor, nn
from mindspore.nn.utils import no_init_parameters

from training.resnext import Bottleneck, Head, build

BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
Shape = tuple[int, ...]


@pytest.fixture(scope="module")
def full() -> nn.Cell:
    """The full network; its 461 MB of weights are never made."""
    with no_init_parameters():
        return build("resnext152_64x4d", 1000)


def upstream_parameters() -> Iterator[tuple[str, Shape]]:
    """Yield names and shapes of an upstream resnext152_64x4d checkpoint trained on a GPU."""
    yield "backbone.conv.weight", (64, 3, 7, 7)
    yield from batch_norm("backbone.bn", 64)
    inputs = 64
    for layer, (blocks, width) in enumerate(
        zip((3, 8, 36, 3), (256, 512, 1024, 2048), strict=True), 1
    ):
        for block in range(blocks):
            prefix = f"backbone.layer{layer}.{block}"
            yield f"{prefix}.conv1.weight", (width, inputs, 1, 1)
            yield f"{prefix}.conv2.weight", (width, width // 64, 3, 3)
            yield f"{prefix}.conv3.weight", (width, width, 1, 1)
            for index in (1, 2, 3):
                yield from batch_norm(f"{prefix}.bn{index}", width)
            if block == 0:
                yield f"{prefix}.down_sample.conv.weight", (width, inputs, 1, 1)
                yield from batch_norm(f"{prefix}.down_sample.bn", width)
            inputs = width
    yield "head.fc.weight", (1000, 2048)
    yield "head.fc.bias", (1000,)


def batch_norm(prefix: str, channels: int) -> Iterator[tuple[str, Shape]]:
    """Yield the four parameters of a batch norm."""
    yield from ((f"{prefix}.{name}", (channels,)) for name in BATCH_NORM)


def test_the_full_network_has_the_upstreams_parameters(full: nn.Cell) -> None:
    found = {p.name: tuple(p.shape) for p in full.get_parameters()}
    assert found == dict(upstream_parameters())


def test_the_full_network_counts_as_the_paper_says(full: nn.Cell) -> None:
    assert sum(p.size for p in full.trainable_params()) == 114_971_944


def test_the_small_network_fits_in_a_megabyte() -> None:
    net = build("resnext14_8x4d", 10)
    assert sum(p.size for p in net.get_parameters()) * 4 < 700_000


def test_the_stride_is_on_the_grouped_convolution(full: nn.Cell) -> None:
    block = full.backbone.layer2[0]
    assert [block.conv1.stride, block.conv2.stride] == [(1, 1), (2, 2)]
    assert block.conv2.group == 64
    assert full.backbone.pool.pad_mode.upper() == "SAME"


@pytest.mark.parametrize("name", ["tiny", "resnext14_8x4d"])
def test_images_become_logits(name: str) -> None:
    images = Tensor(np.zeros((2, 3, 28, 28), np.float32))
    assert build(name, 7).set_train(False)(images).shape == (2, 7)


def test_the_last_batch_norm_of_a_block_starts_at_zero() -> None:
    block = build("tiny", 10).backbone.layer1[0]
    assert not block.bn3.gamma.asnumpy().any()
    assert (block.bn2.gamma.asnumpy() == 1).all()


@pytest.mark.parametrize(("name", "fan_out"), [("conv1", 2048), ("conv2", 2048 * 9)])
def test_convolutions_start_he_normal_by_fan_out(name: str, fan_out: int) -> None:
    """He et al. 2015: std = sqrt(2 / fan_out); the outputs of all groups count."""
    network = Bottleneck(256, 2048, 64, groups=64)
    weight = getattr(network, name).weight.asnumpy()
    assert weight.std() == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)
    assert weight.mean() == pytest.approx(0, abs=0.02 * math.sqrt(2 / fan_out))


def test_the_head_starts_uniform_within_the_root_of_its_inputs() -> None:
    """He uniform with a = sqrt(5): sqrt(6 / (1 + 5) / inputs) bounds weights and biases."""
    head, bound = Head(2048, 1000).fc, 1 / math.sqrt(2048)
    for values in (head.weight.asnumpy(), head.bias.asnumpy()):
        assert np.abs(values).max() <= bound
        assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"resnext9000.*resnext152_64x4d"):
        build("resnext9000", 10)
