"""Checkpoints and networks as of the upstream scripts: two layouts, prefixes, optimiser entries."""

from typing import Any

import numpy as np
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray

Parameters = dict[str, NDArray[Any]]


def grouped(network: nn.Cell) -> Parameters:
    """Return the weights with each grouped convolution in one piece, as from a GPU."""
    return {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}


def split(network: nn.Cell) -> Parameters:
    """Return the weights with one convolution per group, as from Ascend or a CPU."""
    groups = {
        f"{name}.weight": cell.group
        for name, cell in network.cells_and_names()
        if isinstance(cell, nn.Conv2d) and cell.group > 1
    }
    parameters: Parameters = {}
    for name, value in grouped(network).items():
        if name in groups:
            stem = name.removesuffix(".weight")
            parts = np.split(value, groups[name])
            parameters |= {f"{stem}.convs.{i}.weight": part for i, part in enumerate(parts)}
        else:
            parameters[name] = value
    return parameters


def with_optimiser(parameters: Parameters) -> Parameters:
    """Return what a training run saves: prefixed names, and the optimiser's entries among them."""
    prefixed = {f"network.{name}": value for name, value in parameters.items()}
    moments = {f"moments.network.{name}": value * 0 for name, value in parameters.items()}
    steps = {"global_step": np.zeros(1, np.int32), "learning_rate": np.ones(5, np.float32)}
    return prefixed | moments | steps


class GroupByGroup(nn.Cell):  # type: ignore[misc]  # mindspore is untyped
    """A grouped convolution as the upstream builds it on Ascend and CPU: one per group."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.groups = convolution.group
        inputs = convolution.in_channels // self.groups
        outputs = convolution.out_channels // self.groups
        self.convs = nn.CellList(
            [
                nn.Conv2d(inputs, outputs, 3, convolution.stride, pad_mode="pad", padding=1)
                for _ in range(self.groups)
            ]
        )
        weights = np.split(convolution.weight.asnumpy(), self.groups)
        for part, weight in zip(self.convs, weights, strict=True):
            part.weight.set_data(Tensor(weight))

    def construct(self, images: Tensor) -> Tensor:
        """Run every group on its channels."""
        channels = images.shape[1] // self.groups
        parts = ops.split(images, channels, axis=1)
        return ops.cat([conv(part) for conv, part in zip(self.convs, parts, strict=True)], axis=1)


def group_by_group(network: nn.Cell) -> nn.Cell:
    """Return the network with every grouped convolution taken apart, in place."""
    for _, block in list(network.cells_and_names()):
        convolution = getattr(block, "conv2", None)
        if isinstance(convolution, nn.Conv2d) and convolution.group > 1:
            block.conv2 = GroupByGroup(convolution)
    return network.set_train(False)
