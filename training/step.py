"""The compiled training step."""

from collections.abc import Callable
from typing import cast

import mindspore
from mindspore import Tensor, nn

from training.config import TrainConfig
from training.losses import SmoothedCrossEntropy
from training.optimizers import momentum
from training.schedules import Rates

Step = Callable[[Tensor, Tensor], Tensor]


def training_step(net: nn.Cell, rates: Rates, config: TrainConfig) -> Step:
    """Compile (float32 (N, 3, H, W), int32 (N,)) -> loss; a call also updates the network."""
    criterion = SmoothedCrossEntropy(config.num_classes, config.smoothing)
    optimizer = momentum(net, rates, config)
    scale = config.loss_scale

    def forward(images: Tensor, labels: Tensor) -> Tensor:
        return criterion(net(images), labels) * scale

    gradients = mindspore.value_and_grad(forward, None, optimizer.parameters)

    @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
    def step(images: Tensor, labels: Tensor) -> Tensor:
        loss, grads = gradients(images, labels)
        optimizer(grads)
        return loss / scale

    return cast("Step", step)
