"""The compiled training step: loss, mixed precision, loss scale, overflow check, update."""

from collections.abc import Callable
from typing import cast

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, amp, nn, ops
from numpy.typing import NDArray

from training.accumulation import in_parts
from training.average import moving_average
from training.checkpoint.checkpoints import Arrays, set_parameters
from training.distributed import Gradients, gradient_mean
from training.optimizers import optimizer
from training.schedules import Rates
from training.settings.train_config import TrainConfig

# The upstream's dynamic loss scale: its first value, its factor, and the steps until it grows.
INITIAL_SCALE, SCALE_FACTOR, SCALE_WINDOW = 65536.0, 2, 2000
LOSS_SCALE = "loss_scale"


class TrainingStep:
    """Compiled once; each call trains the network on a batch, unless gradients overflow.

    Attributes:
        network: what is to be evaluated and saved: the network or, with `ema`, its average.
    """

    def __init__(
        self,
        net: nn.Cell,
        rates: Rates,
        config: TrainConfig,
        class_weights: NDArray[np.float32] | None = None,
    ) -> None:
        # Before mixed precision changes the network.
        averaged, follow = (net, None) if config.ema is None else moving_average(net, config.ema)
        forward = amp.auto_mixed_precision(net, config.amp_level).set_train()
        criterion = SmoothedCrossEntropy(config.classes, config.smoothing, class_weights)
        optimize, scaler = optimizer(net, rates, config), loss_scaler(config)
        mean, clip = gradient_mean(optimize.parameters, config), config.clip_global_norm
        all_finite = finite_check(config.platform)

        def scaled_loss(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            loss = criterion(forward(images), labels)
            return scaler.scale(loss), loss

        def update(grads: Gradients) -> Tensor:
            grads = mean(grads)
            finite = all_finite(grads)
            if finite:
                grads = scaler.unscale(grads)
                if clip is not None:
                    grads = ops.clip_by_global_norm(grads, clip)
                optimize(grads)
                if follow is not None:
                    follow(optimize.global_step)
            scaler.adjust(finite)
            return finite

        gradients = mindspore.value_and_grad(scaled_loss, None, optimize.parameters, has_aux=True)

        @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
        def at_once(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            (_, loss), grads = gradients(images, labels)
            return loss, update(grads)

        parts = config.accumulate
        whole = parts == 1
        self._step = at_once if whole else in_parts(gradients, update, optimize.parameters, parts)
        self._net, self._rates, self._scaler, self._optimizer = net, rates, scaler, optimize
        self.network = averaged

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Train on float32 (N, 3, H, W), and int32 (N,) or, of mixed images, float32 (N, K).

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
        """Return what the next step depends on, besides `network` and settings.

        Moments, position in the schedule, the dynamic loss scale, and weights that are averaged.
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
        if self.network is not self._net:
            found |= {f"network.{p.name}": p for p in self._net.get_parameters()}
        return found


def loss_scaler(config: TrainConfig) -> amp.LossScaler:
    """Return the static loss scale, or the dynamic one that starts as the upstream's does."""
    if config.is_dynamic_loss_scale:
        return amp.DynamicLossScaler(INITIAL_SCALE, SCALE_FACTOR, SCALE_WINDOW)
    return amp.StaticLossScaler(config.loss_scale)


class SmoothedCrossEntropy(nn.Cell):  # type: ignore[misc]  # mindspore is untyped
    """Logits (N, K) and labels -> mean loss, a scalar.

    Labels are int32 (N,), or float32 (N, K), the share of each class in an image, as mixup and
    cutmix make them. Smoothed as the upstream's `crossentropy.py` does it: the true class gets
    1 - smoothing, each other class smoothing / (K - 1); not smoothing / K. Shares are smoothed in
    proportion.

    Class weights, float32 (K,), multiply the terms of their classes; the sum is divided by N, not
    by the weights: so does torch.nn.CrossEntropyLoss with probabilities of classes as its target.
    """

    def __init__(
        self,
        num_classes: int,
        smoothing: float,
        class_weights: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        on, off = 1 - smoothing, smoothing / max(num_classes - 1, 1)
        self.on_value, self.off_value, self.rise = Tensor(on), Tensor(off), Tensor(on - off)
        self.class_weights = None if class_weights is None else Tensor(class_weights)

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss."""
        if labels.ndim == 1:
            target = ops.one_hot(labels, self.num_classes, self.on_value, self.off_value)
        else:
            target = self.off_value + self.rise * labels
        if self.class_weights is not None:
            target = target * self.class_weights
        return -(target * ops.log_softmax(logits, axis=1)).sum(axis=1).mean()


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
