"""Checkpoints as the upstream scripts leave them: two layouts, prefixes, optimiser entries."""

from typing import Any

import numpy as np
from mindspore import nn
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
