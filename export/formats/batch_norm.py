"""Batch norm folded into the convolution before it (Jacob et al. 2017, arXiv:1712.05877, 3.2)."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

Array = NDArray[np.float64]


def fold_batch_norm(graph: GraphProto) -> None:
    """Replace every convolution and the batch norm behind it by one convolution, in place.

    A batch norm stays where its input comes from elsewhere or is used elsewhere too.
    """
    producers = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = producers.get(norm.input[0])
        if conv is not None and conv.op_type == "Conv" and uses[norm.input[0]] == 1:
            _fold(graph, conv, norm, weights)
    _drop_unused_weights(graph)


def _fold(
    graph: GraphProto, conv: NodeProto, norm: NodeProto, weights: dict[str, TensorProto]
) -> None:
    gamma, beta, mean, variance = (_array(weights[name]) for name in norm.input[1:])
    scale = gamma / np.sqrt(variance + _epsilon(norm))
    kernel = weights[conv.input[1]]
    old_bias = _array(weights[conv.input[2]]) if len(conv.input) > 2 else np.zeros_like(mean)
    bias = f"{kernel.name.removesuffix('.weight')}.bias"
    folded = _array(kernel) * scale[:, None, None, None]
    kernel.CopyFrom(numpy_helper.from_array(folded.astype(np.float32), kernel.name))
    graph.initializer.append(
        numpy_helper.from_array((beta + (old_bias - mean) * scale).astype(np.float32), bias)
    )
    conv.input[:] = [*conv.input[:2], bias]
    conv.output[0] = norm.output[0]
    graph.node.remove(norm)


def _drop_unused_weights(graph: GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _epsilon(norm: NodeProto) -> float:
    return next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)


def _array(tensor: TensorProto) -> Array:
    return numpy_helper.to_array(tensor).astype(np.float64)
