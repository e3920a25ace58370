"""The moving average of the weights against its definition in numpy."""

import numpy as np
import pytest
from mindspore import Tensor, nn

from tests.training.test_accumulation import IMAGES, LABELS, RATES, values
from training.checkpoint import checkpoints
from training.errors import CheckpointError
from training.resnext import build
from training.settings.train_config import TrainConfig
from training.step import TrainingStep

DECAY = 0.3  # the first two steps have less, the third has it


def decay(step: int) -> float:
    return min(DECAY, (1 + step) / (10 + step))


def make(**settings: object) -> tuple[nn.Cell, TrainingStep]:
    net = build("tiny", 10)
    return net, TrainingStep(net, RATES, TrainConfig(num_classes=10, **settings))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_step_moves_the_average_of_everything_towards_the_network(accumulate: int) -> None:
    net, step = make(ema=DECAY, accumulate=accumulate)
    expected = values(net)
    for update, (images, labels) in enumerate(zip(IMAGES, LABELS, strict=True), 1):
        step(Tensor(images), Tensor(labels))
        kept = decay(update)
        for name, value in values(net).items():
            expected[name] = kept * expected[name] + (1 - kept) * value
    found, last = values(step.network), values(net)
    assert found.keys() == last.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    for name in ("head.fc.weight", "backbone.bn.moving_mean"):
        assert np.abs(found[name] - last[name]).max() > 1e-4


def test_a_skipped_step_moves_no_average() -> None:
    _, step = make(ema=DECAY)
    before = values(step.network)
    assert not bool(step(Tensor(np.full_like(IMAGES[0], 1e38)), Tensor(LABELS[0]))[1])
    for name, value in values(step.network).items():
        np.testing.assert_array_equal(value, before[name])


def test_the_average_evaluates_and_does_not_train() -> None:
    """Another network in another graph: one step of it is no step of the other."""
    net, step = make(ema=DECAY)
    step(Tensor(IMAGES[0]), Tensor(LABELS[0]))
    averaged, images = step.network.set_train(False), Tensor(IMAGES[1])
    plain = build("tiny", 10).set_train(False)
    checkpoints.restore(plain, values(averaged))
    np.testing.assert_allclose(averaged(images).asnumpy(), plain(images).asnumpy(), atol=1e-5)
    assert not np.allclose(averaged(images).asnumpy(), net.set_train(False)(images).asnumpy())


def test_the_state_holds_the_weights_that_are_averaged() -> None:
    net, step = make(ema=DECAY)
    step(Tensor(IMAGES[0]), Tensor(LABELS[0]))
    state, trained = step.state(), values(net)
    assert trained.keys() == {n.removeprefix("network.") for n in state if n.startswith("network.")}
    other, restored = make(ema=DECAY)
    restored.restore(state)
    for name, value in values(other).items():
        np.testing.assert_array_equal(value, trained[name])
    with pytest.raises(CheckpointError, match=r"left over: network\.backbone"):
        make()[1].restore(state)


def test_the_network_itself_is_evaluated_without_an_average() -> None:
    net, step = make()
    assert step.network is net
