"""A step in parts against the step of the whole batch, on a network with fixed statistics."""

import numpy as np
import pytest
from mindspore import Tensor, nn

from tests.support.checkpoints import stirred
from training.checkpoint.checkpoints import parameters_of
from training.settings.train_config import TrainConfig
from training.step import TrainingStep

BATCH, PARTS = 8, 4
RATES = np.array([0.1, 0.05, 0.02], np.float32)
CHANCE = np.random.default_rng(0)
IMAGES = CHANCE.normal(size=(len(RATES), BATCH, 3, 28, 28)).astype(np.float32)
LABELS = CHANCE.integers(0, 10, (len(RATES), BATCH)).astype(np.int32)
Values = dict[str, np.ndarray]


def make(**settings: object) -> tuple[nn.Cell, TrainingStep]:
    net = stirred("tiny", 10)
    for _, cell in net.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d):
            cell.use_batch_statistics = False
    return net, TrainingStep(net, RATES, TrainConfig(num_classes=10, **settings))


def values(net: nn.Cell) -> Values:
    return {name: p.asnumpy().copy() for name, p in parameters_of(net).items()}


@pytest.mark.parametrize(
    "settings",
    [
        {"clip_global_norm": 0.5},
        {"opt": "nesterov", "is_dynamic_loss_scale": True},
    ],
)
def test_a_step_in_parts_is_that_of_the_whole_batch(settings: dict[str, object]) -> None:
    whole, in_parts = make(**settings), make(accumulate=PARTS, **settings)
    before = values(whole[0])
    for images, labels in zip(IMAGES, LABELS, strict=True):
        expected, found = (
            [float(value) for value in step(Tensor(images), Tensor(labels))]
            for _, step in (whole, in_parts)
        )
        assert found == pytest.approx(expected, abs=1e-5)
        assert whole[1].rate == in_parts[1].rate
    for name, value in values(whole[0]).items():
        np.testing.assert_allclose(values(in_parts[0])[name], value, rtol=0, atol=1e-5)
    assert np.abs(values(whole[0])["head.fc.weight"] - before["head.fc.weight"]).max() > 1e-3
    assert in_parts[1].state().keys() == whole[1].state().keys()


@pytest.mark.parametrize("part", [0, PARTS - 1])
def test_an_overflow_in_any_part_skips_the_step_and_leaves_nothing_behind(part: int) -> None:
    (net, step), (other, plain) = (
        make(accumulate=PARTS, is_dynamic_loss_scale=True) for _ in range(2)
    )
    before, bad = values(net), IMAGES[0].copy()
    bad[part * BATCH // PARTS] = 1e38
    _, finite = step(Tensor(bad), Tensor(LABELS[0]))
    assert not bool(finite)
    assert step.scale == 32768
    for name, value in values(net).items():
        np.testing.assert_array_equal(value, before[name])
    for one in (step, plain):
        assert bool(one(Tensor(IMAGES[1]), Tensor(LABELS[1]))[1])
    for name, value in values(other).items():
        np.testing.assert_allclose(values(net)[name], value, rtol=0, atol=1e-6)
