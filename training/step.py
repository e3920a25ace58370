"""The compiled training step: loss, mixed precision, loss scale, overflow check, update."""

from collections.abc import Callable
from typing import cast

import mindspore
from mindspore import Parameter, Tensor, amp, nn, ops

from training.checkpoint.checkpoints import Arrays, set_parameters
from training.distributed import Gradients, gradient_mean
from training.schedules import Rates
from training.settings.train_config import TrainConfig

# The upstream's dynamic loss scale: its first value, its factor, and the steps until it grows.
INITIAL_SCALE, SCALE_FACTOR, SCALE_WINDOW = 65536.0, 2, 2000
LOSS_SCALE = "loss_scale"
WITHOUT_DECAY = ("bias", "gamma", "beta")


class TrainingStep:
    """Compiled once; each call trains the network on a batch, unless gradients overflow."""

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
        """Train on float32 (N, 3, H, W) and int32 (N,).

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
        """Return what the next step depends on, besides network and settings.

        Moments, position in the schedule, and the dynamic loss scale.
        """
        return {name: parameter.asnumpy() for name, parameter in self._parameters().items()}

    def restore(self, state: Arrays) -> None:
        """Take over a state before the first call; raise CheckpointError listing what is wrong."""
        wanted = self._parameters()
        # Older states also hold a static loss scale, which is a setting.
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


class SmoothedCrossEntropy(nn.Cell):  # type: ignore[misc]  # mindspore is untyped
    """Logits (N, K), int32 labels (N,) -> mean loss, a scalar.

    Smoothed as the upstream's `crossentropy.py` does it: the true class gets 1 - smoothing, each
    other class smoothing / (K - 1); not smoothing / K.
    """

    def __init__(self, num_classes: int, smoothing: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.on_value = Tensor(1 - smoothing)
        self.off_value = Tensor(smoothing / max(num_classes - 1, 1))

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss."""
        target = ops.one_hot(labels, self.num_classes, self.on_value, self.off_value)
        return -(target * ops.log_softmax(logits, axis=1)).sum(axis=1).mean()


def momentum(net: nn.Cell, rates: Rates, config: TrainConfig) -> nn.Momentum:
    """Return the optimiser: momentum, without weight decay on biases and batch norm.

    It takes gradients of the loss itself, not of the scaled one.
    """
    parameters = net.trainable_params()
    plain = [p for p in parameters if p.name.endswith(WITHOUT_DECAY)]
    decayed = [p for p in parameters if not p.name.endswith(WITHOUT_DECAY)]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
        {"order_params": parameters},
    ]
    return nn.Momentum(groups, rates.tolist(), config.momentum)


def finite_check(platform: str) -> Callable[[Gradients], Tensor]:
    """Return a function, for use inside a graph: float32 gradients -> bool (), are all finite?

    Accelerators have kernels for this in `amp.all_finite`; a CPU has none, and spends up to a fifth
    of a step of the full network in their replacement.
    """
    return _sum_is_finite if platform == "CPU" else amp.all_finite


def _sum_is_finite(gradients: Gradients) -> Tensor:
    """A sum is finite if all its terms are, unless they come near the largest float themselves.

    Sums of rows use all threads and vector units of the CPU; one sum of everything, one thread.
    """
    rows = ops.HyperMap()(_row_sums, gradients)
    return ops.isfinite(ops.ReduceSum()(ops.cat(rows)))


def _row_sums(gradient: Tensor) -> Tensor:
    if gradient.ndim == 1:
        return gradient
    return ops.ReduceSum()(gradient.reshape(gradient.shape[0], -1), 1)
