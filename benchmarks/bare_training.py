"""The network by itself, on one batch that is always the same: no loader, no loop, no log."""

import time
from collections.abc import Callable

import mindspore
import numpy as np
from mindspore import Tensor, nn

from training.config import TrainConfig
from training.resnext import build

Work = Callable[[], object]


class BareNetwork:
    """Forward pass and training step of a recipe's network, as MindSpore's guide writes them."""

    def __init__(self, config: TrainConfig) -> None:
        net = build(config.architecture, config.num_classes)
        loss = nn.CrossEntropyLoss(label_smoothing=config.smoothing)
        optimizer = nn.Momentum(
            net.trainable_params(), config.lr, config.momentum, config.weight_decay
        )

        def forward_loss(images: Tensor, labels: Tensor) -> Tensor:
            return loss(net(images), labels)

        gradients = mindspore.value_and_grad(forward_loss, None, optimizer.parameters)

        @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
        def step(images: Tensor, labels: Tensor) -> Tensor:
            value, grads = gradients(images, labels)
            optimizer(grads)
            return value

        @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
        def forward(images: Tensor) -> Tensor:
            return net(images)

        self._net, self._step, self._forward, self._batch = net, step, forward, _batch(config)

    def train(self, steps: int) -> float:
        """Return the images per second of so many training steps, after one that compiles."""
        self._net.set_train()
        return self._speed(lambda: self._step(*self._batch).asnumpy(), steps)

    def predict(self, steps: int) -> float:
        """Return the images per second of so many forward passes, likewise."""
        self._net.set_train(False)
        return self._speed(lambda: self._forward(self._batch[0]).asnumpy(), steps)

    def _speed(self, work: Work, steps: int) -> float:
        work()
        start = time.perf_counter()
        for _ in range(steps):
            work()
        return steps * len(self._batch[1]) / (time.perf_counter() - start)


def _batch(config: TrainConfig) -> tuple[Tensor, Tensor]:
    size, chance = config.per_batch_size, np.random.default_rng(0)
    images = chance.normal(size=(size, 3, *config.image_size)).astype(np.float32)
    labels = chance.integers(config.num_classes, size=size).astype(np.int32)
    return Tensor(images), Tensor(labels)
