"""Momentum without weight decay on biases and batch norm, as the upstream trains."""

from typing import TYPE_CHECKING

from mindspore import nn

from training.optim.schedules import Rates

if TYPE_CHECKING:
    from training.settings.config import TrainConfig

WITHOUT_DECAY = ("bias", "gamma", "beta")


def momentum(net: nn.Cell, rates: Rates, config: "TrainConfig") -> nn.Momentum:
    """Return the optimiser, for gradients of the loss itself, not of the scaled one."""
    parameters = net.trainable_params()
    plain = [p for p in parameters if p.name.endswith(WITHOUT_DECAY)]
    decayed = [p for p in parameters if not p.name.endswith(WITHOUT_DECAY)]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
        {"order_params": parameters},
    ]
    return nn.Momentum(groups, rates.tolist(), config.momentum)
