"""A moving average of a network, often better than the network itself."""

import copy
from collections.abc import Callable

from mindspore import Parameter, ParameterTuple, nn, ops

AVERAGE = "average."


def moving_average(net: nn.Cell, decay: float) -> tuple[nn.Cell, Callable[[Parameter], None]]:
    """Return a copy of a network, and a function, for use inside a graph, that lets it follow.

    After step n the copy is d * copy + (1 - d) * network: an exponential moving average of every
    parameter, the statistics of batch norm among them (Tarvainen & Valpola 2017, arXiv:1703.01780,
    section 2). d is `decay`, but at most (1 + n) / (10 + n), as TensorFlow's
    ExponentialMovingAverage has it: else the random weights of the start would stay in the average
    for some 1 / (1 - decay) steps. n, int32 (1,), counts from 1.
    """
    averaged = copy.deepcopy(net)
    averages, values = (ParameterTuple(cell.get_parameters()) for cell in (averaged, net))
    for average in averages:
        average.name = AVERAGE + average.name  # a graph tells parameters apart by their names

    def follow(step: Parameter) -> None:
        share = ops.maximum(9 / (10 + step), 1 - decay)
        # Not a HyperMap, of whose unused result a graph drops some assignments.
        for average, value in zip(averages, values):  # noqa: B905 - unknown to a graph
            ops.assign_add(average, (value - average) * share)

    return averaged, follow
