"""The network by itself, on one batch that is always the same: no loader, no loop, no log."""

import time
from collections.abc import Callable

import mindspore
import numpy as np
from mindspore import Tensor, amp, nn

from training.resnext import build
from training.schedules import Rates, learning_rates
from training.settings.train_config import TrainConfig
from training.step import SmoothedCrossEntropy

Step = Callable[[Tensor, Tensor], Tensor]


class BareNetwork:
    """Forward pass and training steps of a recipe's network, as MindSpore's guides write them."""

    def __init__(self, config: TrainConfig) -> None:
        self._net = net = build(config.architecture, config.classes)
        # A step for each image of an epoch are more than are ever taken.
        rates = learning_rates(config, config.train_images or 1)
        self._same_work, self._shortest = same_work(net, rates, config), shortest(net, config)
        self._images, self._labels = _batch(config)

        @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
        def forward(images: Tensor) -> Tensor:
            return net(images)

        self._forward = forward

    def train(self, steps: int) -> float:
        """Return the images per second of steps of `same_work`, after one that compiles."""
        return self._train(self._same_work, steps)

    def train_shortest(self, steps: int) -> float:
        """Return the images per second of this many steps of `shortest`, likewise."""
        return self._train(self._shortest, steps)

    def predict(self, steps: int) -> float:
        """Return the images per second of this many forward passes, likewise."""
        self._net.set_train(False)
        return self._speed(lambda: self._forward(self._images), steps)

    def _train(self, step: Step, steps: int) -> float:
        self._net.set_train()
        return self._speed(lambda: step(self._images, self._labels), steps)

    def _speed(self, work: Callable[[], Tensor], steps: int) -> float:
        work().asnumpy()
        start = time.perf_counter()
        for _ in range(steps):
            work().asnumpy()
        return steps * len(self._labels) / (time.perf_counter() - start)


def same_work(net: nn.Cell, rates: Rates, config: TrainConfig) -> Step:
    """Return a step that computes what `training.step` does, as MindSpore's guides write it.

    https://www.mindspore.cn/tutorials/en/master/beginner/mixed_precision.html: loss scale, check of
    all gradients, no update after an overflow; with decay by group and a schedule of rates.
    """
    criterion = SmoothedCrossEntropy(config.classes, config.smoothing)
    scaler = amp.StaticLossScaler(config.loss_scale)
    parameters = net.trainable_params()
    plain = [p for p in parameters if p.name.endswith(("bias", "gamma", "beta"))]
    decayed = [p for p in parameters if not p.name.endswith(("bias", "gamma", "beta"))]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
        {"order_params": parameters},
    ]
    optimizer = nn.Momentum(groups, rates.tolist(), config.momentum)

    def scaled_loss(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss = criterion(net(images), labels)
        return scaler.scale(loss), loss

    gradients = mindspore.value_and_grad(scaled_loss, None, optimizer.parameters, has_aux=True)

    @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
    def step(images: Tensor, labels: Tensor) -> Tensor:
        (_, loss), grads = gradients(images, labels)
        finite = amp.all_finite(grads)
        if finite:
            optimizer(scaler.unscale(grads))
        scaler.adjust(finite)
        return loss

    return step  # type: ignore[no-any-return]


def shortest(net: nn.Cell, config: TrainConfig) -> Step:
    """Return the shortest step that trains: one rate, one decay, no loss scale, no check."""
    criterion = nn.CrossEntropyLoss(label_smoothing=config.smoothing)
    parameters = net.trainable_params()
    optimizer = nn.Momentum(parameters, config.lr, config.momentum, config.weight_decay)

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        return criterion(net(images), labels)

    gradients = mindspore.value_and_grad(loss_of, None, optimizer.parameters)

    @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
    def step(images: Tensor, labels: Tensor) -> Tensor:
        loss, grads = gradients(images, labels)
        optimizer(grads)
        return loss

    return step  # type: ignore[no-any-return]


def _batch(config: TrainConfig) -> tuple[Tensor, Tensor]:
    size, chance = config.per_batch_size, np.random.default_rng(0)
    images = chance.normal(size=(size, 3, *config.image_size)).astype(np.float32)
    labels = chance.integers(config.classes, size=size).astype(np.int32)
    return Tensor(images), Tensor(labels)
