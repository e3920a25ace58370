"""The optimisers: what is trained, and at which rate and weight decay."""

import math
from collections.abc import Sequence

import mindspore
from mindspore import Parameter, Tensor, nn, ops

from training.errors import ArchitectureError
from training.schedules import Rates
from training.settings.train_config import TrainConfig

WITHOUT_DECAY = ("bias", "gamma", "beta")
BACKBONE = "backbone."
# Of AdamW, as in the paper and in PyTorch.
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def optimizer(net: nn.Cell, rates: Rates, config: TrainConfig) -> nn.Optimizer:
    """Return the optimiser that `opt` names, of all parameters that are not frozen.

    It takes gradients of the loss itself, not of the scaled one; `moments` are its state, besides
    `global_step`. The first two add the weight decay to the gradient, adamw keeps it apart.
    """
    parameters = net.trainable_params()
    groups = [*_groups(parameters, rates, config), {"order_params": parameters}]
    if config.opt == "adamw":
        return AdamW(groups, rates.tolist())
    if config.opt == "nesterov":
        return Nesterov(groups, rates.tolist(), config.momentum)
    return nn.Momentum(groups, rates.tolist(), config.momentum)


def _groups(
    parameters: list[Parameter], rates: Rates, config: TrainConfig
) -> list[dict[str, object]]:
    """Return groups for mindspore: weights and the rest, of the backbone apart if its rate is."""
    decays = {False: config.weight_decay, True: 0.0}
    factors = {False: 1.0, True: config.backbone_lr_factor}
    members: dict[tuple[float, float], list[Parameter]] = {}
    for parameter in parameters:
        decay = decays[parameter.name.endswith(WITHOUT_DECAY)]
        factor = factors[parameter.name.startswith(BACKBONE)]
        members.setdefault((decay, factor), []).append(parameter)
    groups: list[dict[str, object]] = []
    for (decay, factor), group in members.items():
        rate = {} if config.backbone_lr_factor == 1 else {"lr": (rates * factor).tolist()}
        groups.append({"params": group, "weight_decay": decay, **rate})
    return groups


def freeze(net: nn.Cell, parts: Sequence[str]) -> None:
    """Keep parts of a network, each given by the beginning of its parameters' names, as they are.

    Their batch norm normalises by its statistics, in training too, and keeps them. Raises
    ArchitectureError if the network lacks such a part, or nothing is left to train.
    """
    names = [parameter.name for parameter in net.get_parameters()]
    missing = [part for part in parts if not any(_is_in(name, (part,)) for name in names)]
    if missing:
        known = dict.fromkeys(".".join(name.split(".")[:2]) for name in names)
        raise ArchitectureError(
            f"freeze: the network has no part {', '.join(missing)}; "
            f"there are {', '.join(known)}, and what is in them"
        )
    for parameter in net.trainable_params():
        parameter.requires_grad = not _is_in(parameter.name, parts)
    if not net.trainable_params():
        raise ArchitectureError(f"freeze: nothing is left to train without {', '.join(parts)}")
    for _, cell in net.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d) and _is_in(
            cell.gamma.name.removesuffix(".gamma"), parts
        ):
            cell.use_batch_statistics = False


def _is_in(name: str, parts: Sequence[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


class Nesterov(nn.Optimizer):  # type: ignore[misc]  # mindspore is untyped
    """Nesterov's momentum (Sutskever et al. 2013, section 2), as PyTorch's SGD computes it.

    nn.Momentum(use_nesterov=True) is not used: its kernel for CPUs leaves Nesterov's part out.
    """

    def __init__(
        self, groups: list[dict[str, object]], rates: list[float], momentum: float
    ) -> None:
        super().__init__(rates, groups)
        self.momentum = momentum
        self.moments = self.parameters.clone(prefix="moments", init="zeros")
        self.assign, self.subtract = ops.Assign(), ops.AssignSub()

    @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
    def construct(self, gradients: tuple[Tensor, ...]) -> Tensor:
        """Update the parameters; return the number of steps so far."""
        gradients, rates = self.decay_weight(gradients), self.get_lr()
        if not self.is_group_lr:
            rates = (rates,) * self.param_length
        for parameter, moment, rate, gradient in zip(  # noqa: B905 - unknown to a graph
            self.parameters, self.moments, rates, gradients
        ):
            new = moment * self.momentum + gradient
            self.assign(moment, new)
            self.subtract(parameter, rate * (gradient + self.momentum * new))
        return self.assignadd(self.global_step, self.global_step_increase_tensor)


class AdamW(nn.Optimizer):  # type: ignore[misc]  # mindspore is untyped
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2), as PyTorch's computes it.

    The weight decay is multiplied by the learning rate and kept out of the moments. MindSpore's
    own for every platform, nn.AdamWeightDecay, does not correct the bias of the first moments.
    """

    def __init__(self, groups: list[dict[str, object]], rates: list[float]) -> None:
        super().__init__(rates, groups)
        self.first = self.parameters.clone(prefix="moment1", init="zeros")
        self.second = self.parameters.clone(prefix="moment2", init="zeros")
        self.adam, self.assign = ops.Adam(), ops.Assign()
        self.zero = Tensor(0.0, mindspore.float32)
        self.beta1, self.beta2 = (Tensor(beta, mindspore.float32) for beta in (BETA1, BETA2))
        self.log1, self.log2 = math.log(BETA1), math.log(BETA2)

    @property
    def moments(self) -> tuple[Parameter, ...]:
        """Both moments of each parameter."""
        return (*self.first, *self.second)

    @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
    def construct(self, gradients: tuple[Tensor, ...]) -> Tensor:
        """Update the parameters; return the number of steps so far."""
        rates, decays = self.get_lr(), self.get_weight_decay()
        if not self.is_group_lr:
            rates = (rates,) * self.param_length
        steps = self.assignadd(self.global_step, self.global_step_increase_tensor)
        # 1 - beta ** steps, whose digits a power of nearly 1 would lose.
        first = -ops.expm1(steps.astype(mindspore.float32) * self.log1).reshape(())
        second = ops.sqrt(-ops.expm1(steps.astype(mindspore.float32) * self.log2)).reshape(())
        for parameter, one, two, rate, decay, gradient in zip(  # noqa: B905 - unknown to a graph
            self.parameters, self.first, self.second, rates, decays, gradients
        ):
            self.assign(parameter, parameter * (1 - rate * decay))
            # The kernel's own corrections are left out, by powers of 0: it adds epsilon to a root
            # that is not corrected yet, and the paper to one that is.
            self.adam(
                parameter,
                one,
                two,
                self.zero,
                self.zero,
                rate * second / first,
                self.beta1,
                self.beta2,
                EPSILON * second,
                gradient,
            )
        return steps
