"""Batch norm folded into the convolution before it (Jacob et al. 2017, arXiv:1712.05877, 3.2)."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto

Weights = dict[str, NDArray[np.float32]]


def fold_batch_norm(graph: GraphProto, weights: Weights) -> None:
    """Replace every convolution and the batch norm behind it by one convolution, in place.

    The weights of the graph change with it. A batch norm stays where its input comes from elsewhere
    or is used elsewhere too.
    """
    producers = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = producers.get(norm.input[0])
        if conv is not None and conv.op_type == "Conv" and uses[norm.input[0]] == 1:
            _fold(graph, conv, norm, weights)
    used = {name for node in graph.node for name in node.input}
    for name in weights.keys() - used:
        del weights[name]


def _fold(graph: GraphProto, conv: NodeProto, norm: NodeProto, weights: Weights) -> None:
    gamma, beta, mean, variance = (weights[name].astype(np.float64) for name in norm.input[1:])
    scale = gamma / np.sqrt(variance + _epsilon(norm))
    kernel = conv.input[1]
    old_bias = weights[conv.input[2]] if len(conv.input) > 2 else np.zeros_like(mean)
    bias = f"{kernel.removesuffix('.weight')}.bias"
    folded = weights[kernel] * scale[:, None, None, None]
    weights[kernel] = folded.astype(np.float32)
    weights[bias] = (beta + (old_bias - mean) * scale).astype(np.float32)
    conv.input[:] = [*conv.input[:2], bias]
    conv.output[0] = norm.output[0]
    graph.node.remove(norm)


def _epsilon(norm: NodeProto) -> float:
    return next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
