"""One optimiser step against numpy."""

import numpy as np
import pytest
from mindspore import Tensor

from training.resnext import build
from training.settings.train_config import TrainConfig
from training.step import momentum


@pytest.mark.parametrize(
    ("name", "decays"),
    [
        ("backbone.conv.weight", True),
        ("head.fc.weight", True),
        ("head.fc.bias", False),
        ("backbone.bn.gamma", False),
        ("backbone.layer1.0.bn3.beta", False),
    ],
)
def test_weights_decay_and_biases_and_batch_norm_do_not(name: str, *, decays: bool) -> None:
    net = build("tiny", 10)
    parameters = net.trainable_params()
    before = {p.name: p.asnumpy().copy() for p in parameters}
    config = TrainConfig(weight_decay=0.5)
    optimizer = momentum(net, np.array([0.1, 0.1], np.float32), config)
    optimizer(tuple(Tensor(np.ones(p.shape, np.float32)) for p in optimizer.parameters))
    gradient = 1 + (0.5 * before[name] if decays else 0)
    after = next(p for p in parameters if p.name == name).asnumpy()
    np.testing.assert_allclose(after, before[name] - 0.1 * gradient, rtol=1e-5, atol=1e-6)


def test_the_second_step_has_momentum() -> None:
    net = build("tiny", 10)
    config = TrainConfig(momentum=0.9, weight_decay=0.0)
    optimizer = momentum(net, np.array([0.1, 0.01], np.float32), config)
    before = net.head.fc.bias.asnumpy().copy()
    for _ in range(2):
        optimizer(tuple(Tensor(np.ones(p.shape, np.float32)) for p in optimizer.parameters))
    moved = 0.1 * 1 + 0.01 * 1.9
    np.testing.assert_allclose(net.head.fc.bias.asnumpy(), before - moved, rtol=1e-5, atol=1e-6)
