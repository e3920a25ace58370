"""Learning rate per step, float32, as the upstream scripts compute it (its `lr_generator.py`)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.settings.train_config import TrainConfig

Rates = NDArray[np.float32]


def learning_rates(config: TrainConfig, steps_per_epoch: int) -> Rates:
    """Return the rate of each step of a run, shape (max_epoch * steps_per_epoch,)."""
    epochs = np.arange(config.max_epoch)
    if config.lr_scheduler == "cosine_annealing":
        per_epoch = cosine(epochs, config.lr, config.T_max, config.eta_min)
    else:
        per_epoch = multistep(epochs, config.lr, config.lr_epochs, config.lr_gamma)
    rates = np.repeat(per_epoch, steps_per_epoch)
    warmup = linear_warmup(config.lr, config.warmup_epochs * steps_per_epoch)
    rates[: len(warmup)] = warmup
    return rates.astype(np.float32)


def linear_warmup(lr: float, steps: int) -> NDArray[np.float64]:
    """Return lr * (i + 1) / steps for i in 0..steps-1."""
    return lr * np.arange(1, steps + 1) / max(steps, 1)


def cosine(epochs: NDArray[np.intp], lr: float, t_max: int, eta_min: float) -> NDArray[np.float64]:
    """Cosine annealing (Loshchilov & Hutter 2017), stepped per epoch, not shifted by warm-up."""
    return eta_min + (lr - eta_min) * (1 + np.cos(np.pi * epochs / t_max)) / 2


def multistep(
    epochs: NDArray[np.intp], lr: float, milestones: Sequence[int], gamma: float
) -> NDArray[np.float64]:
    """Return lr times gamma for each milestone (an epoch, from 0) that has been reached."""
    decays: NDArray[np.intp] = np.searchsorted(sorted(milestones), epochs, side="right")
    return lr * np.power(float(gamma), decays)
