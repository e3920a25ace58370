"""The compiled training step: mixed precision, loss scale, mean over processes, update."""

from typing import cast

import mindspore
from mindspore import Parameter, Tensor, amp, nn, ops

from training.checkpoint.checkpoints import set_parameters
from training.checkpoint.weight_files import Arrays
from training.distributed import gradient_mean
from training.optim.losses import SmoothedCrossEntropy
from training.optim.optimizers import momentum
from training.optim.overflow import finite_check
from training.optim.schedules import Rates
from training.settings.config import TrainConfig

# The upstream's dynamic loss scale: where it starts, its factor, and steps until it grows.
INITIAL_SCALE, SCALE_FACTOR, SCALE_WINDOW = 65536.0, 2, 2000
LOSS_SCALE = "loss_scale"


class TrainingStep:
    """Compiled once; each call trains the network by a batch, unless gradients overflow."""

    def __init__(self, net: nn.Cell, rates: Rates, config: TrainConfig) -> None:
        forward = amp.auto_mixed_precision(net, config.amp_level).set_train()
        criterion = SmoothedCrossEntropy(config.num_classes, config.smoothing)
        optimizer, scaler = momentum(net, rates, config), loss_scaler(config)
        mean, clip = gradient_mean(optimizer.parameters, config), config.clip_global_norm
        all_finite = finite_check(config.platform)

        def scaled_loss(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            loss = criterion(forward(images), labels)
            return scaler.scale(loss), loss

        gradients = mindspore.value_and_grad(scaled_loss, None, optimizer.parameters, has_aux=True)

        @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
        def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            (_, loss), grads = gradients(images, labels)
            grads = mean(grads)
            finite = all_finite(grads)
            if finite:
                grads = scaler.unscale(grads)
                if clip is not None:
                    grads = ops.clip_by_global_norm(grads, clip)
                optimizer(grads)
            scaler.adjust(finite)
            return loss, finite

        self._step, self._rates, self._scaler, self._optimizer = step, rates, scaler, optimizer

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Train by float32 (N, 3, H, W) and int32 (N,).

        Returns the loss, and whether all gradients were finite: if not, the step was skipped.
        """
        return cast("tuple[Tensor, Tensor]", self._step(images, labels))

    @property
    def rate(self) -> float:
        """Learning rate of the latest update; a skipped step does not advance the schedule."""
        updates = int(self._optimizer.global_step.asnumpy()[0])
        return float(self._rates[max(updates - 1, 0)])

    @property
    def scale(self) -> float:
        """The loss scale in force."""
        return float(self._scaler.scale_value.asnumpy())

    def state(self) -> Arrays:
        """Return what the next step depends on besides network and settings.

        Moments, position in the schedule, and the dynamic loss scale.
        """
        return {name: parameter.asnumpy() for name, parameter in self._parameters().items()}

    def restore(self, state: Arrays) -> None:
        """Take over a state, before the first call; raise CheckpointError listing what is wrong."""
        wanted = self._parameters()
        # Older states hold a static loss scale as well, which is a setting.
        found = {n: value for n, value in state.items() if n in wanted or n != LOSS_SCALE}
        set_parameters(wanted, found)

    def _parameters(self) -> dict[str, Parameter]:
        found = {moment.name: moment for moment in self._optimizer.moments}
        found["global_step"] = self._optimizer.global_step
        if isinstance(self._scaler, amp.DynamicLossScaler):
            found[LOSS_SCALE] = self._scaler.scale_value
            found["loss_scale_counter"] = self._scaler.counter
        return found


def loss_scaler(config: TrainConfig) -> amp.LossScaler:
    """Return the static loss scale, or the dynamic one that starts as the upstream's does."""
    if config.is_dynamic_loss_scale:
        return amp.DynamicLossScaler(INITIAL_SCALE, SCALE_FACTOR, SCALE_WINDOW)
    return amp.StaticLossScaler(config.loss_scale)
