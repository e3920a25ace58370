"""The network family: upstream's names, shapes and sizes."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from mindspore import Tensor, nn
from mindspore.nn.utils import no_init_parameters

from tests.support.checkpoints import POOLED, stirred
from training.architectures import ARCHITECTURES, Pooling, recognise
from training.resnext import Backbone, Bottleneck, Head, build, initialise_per_group

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


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # as torchvision (32x4d, 32x8d, 64x4d) and timm (101_32x4d) state them
        ("resnext50_32x4d", 25_028_904),
        ("resnext101_32x4d", 44_177_704),
        ("resnext101_32x8d", 88_791_336),
        ("resnext101_64x4d", 83_455_272),
    ],
)
def test_the_members_count_as_others_state(name: str, parameters: int) -> None:
    with no_init_parameters():
        net = build(name, 1000)
    assert sum(p.size for p in net.trainable_params()) == parameters


def test_each_member_is_recognised_among_the_others() -> None:
    found = {}
    for name in ARCHITECTURES:
        with no_init_parameters():
            net = build(name, 3)
        found[name] = recognise({p.name: tuple(p.shape) for p in net.get_parameters()})
    assert found == {name: name for name in ARCHITECTURES}
    assert recognise({}) is None
    assert recognise({"backbone.conv.weight": (64, 3, 7, 7)}) is None


def test_the_small_network_fits_in_a_megabyte() -> None:
    net = build("resnext14_8x4d", 10)
    assert sum(p.size for p in net.get_parameters()) * 4 < 700_000


def test_the_stride_is_on_the_grouped_convolution(full: nn.Cell) -> None:
    block = full.backbone.layer2[0]
    assert [block.conv1.stride, block.conv2.stride] == [(1, 1), (2, 2)]
    assert block.conv2.group == 64
    assert full.backbone.pool.pad_mode.upper() == "SAME"


@pytest.mark.parametrize(("pooling", "before"), [("same", (0, 1)), ("symmetric", (1, 1))])
@pytest.mark.parametrize(("height", "width"), [(6, 8), (7, 6), (7, 9)])
def test_the_max_pool_is_padded_as_the_weights_expect(
    pooling: Pooling, before: tuple[int, int], height: int, width: int
) -> None:
    """With "same", as many pixels as it takes, the odd one at the end: (0, 1) on an even size."""
    images = np.random.default_rng(1).normal(size=(2, 3, height, width)).clip(0).astype(np.float32)
    edges = [(1, 1) if side % 2 else before for side in (height, width)]
    padded = np.pad(images, [(0, 0), (0, 0), *edges], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    found = Backbone(POOLED, pooling).pool(Tensor(images)).asnumpy()
    np.testing.assert_array_equal(found, windows.max(axis=(4, 5)))


@pytest.mark.parametrize("name", ["tiny", "resnext14_8x4d"])
def test_images_become_logits(name: str) -> None:
    images = Tensor(np.zeros((2, 3, 28, 28), np.float32))
    assert build(name, 7).set_train(False)(images).shape == (2, 7)


def test_a_mirrored_evaluation_is_the_mean_of_both_views() -> None:
    images = np.random.default_rng(1).normal(size=(3, 3, 28, 20)).astype(np.float32)
    views = (images, np.ascontiguousarray(images[..., ::-1]))
    one, other = (stirred("tiny", 5)(Tensor(view)).asnumpy() for view in views)
    assert np.abs(one - other).max() > 0.01
    mirrored = stirred("tiny", 5, eval_mirror=True)
    for view in views:
        np.testing.assert_allclose(mirrored(Tensor(view)).asnumpy(), (one + other) / 2, atol=1e-6)


def test_training_sees_one_view() -> None:
    images = Tensor(np.random.default_rng(1).normal(size=(3, 3, 28, 28)).astype(np.float32))
    plain, mirrored = (stirred("tiny", 5, eval_mirror=mirror) for mirror in (False, True))
    logits = [net.set_train()(images).asnumpy() for net in (plain, mirrored)]
    np.testing.assert_array_equal(*logits)


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


def test_grouped_convolutions_start_larger_by_the_fan_out_of_one_group() -> None:
    """As if each of the 64 groups were a convolution of 32 channels."""
    network = Bottleneck(256, 2048, 64, groups=64)
    whole = network.conv1.weight.asnumpy().copy()
    initialise_per_group(network)
    weight = network.conv2.weight.asnumpy()
    assert weight.std() == pytest.approx(math.sqrt(2 / (32 * 9)), rel=0.02)
    np.testing.assert_array_equal(network.conv1.weight.asnumpy(), whole)


def test_the_head_starts_uniform_within_the_root_of_its_inputs() -> None:
    """He uniform with a = sqrt(5): sqrt(6 / (1 + 5) / inputs) bounds weights and biases."""
    head, bound = Head(2048, 1000).fc, 1 / math.sqrt(2048)
    for values in (head.weight.asnumpy(), head.bias.asnumpy()):
        assert np.abs(values).max() <= bound
        assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"resnext9000.*resnext152_64x4d"):
        build("resnext9000", 10)
