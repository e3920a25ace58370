"""ONNX through MindSpore's exporter, then prepared for serving.

MindSpore 2.10 writes opset 11, leaves batch norm unfused and the output's batch size static.
"""

from collections import Counter
from pathlib import Path

import training  # noqa: F401  # isort: skip  # sets what mindspore must find in the environment
import mindspore.onnx
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, numpy_helper

from export.formats.grouped import merge_groups
from export.formats.onnx_model import lift, save
from export.formats.padding import merge_padding
from export.formats.plain_path import plain
from export.graph import Deployment
from export.original import INPUT

Weights = dict[str, NDArray[np.float32]]


def write(deployment: Deployment, path: Path) -> None:
    """Write the graph: (batch, *shape) of its type -> float32 (batch, classes).

    Opset 17, the batch dynamic at both ends, batch norm folded; the same weights give the same
    bytes.
    """
    model = _without_weights(deployment, path)
    lift(model)
    graph = model.graph
    merge_padding(graph)
    del graph.input[1:]
    graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    parameters = deployment.network.parameters_dict()
    weights: Weights = {name: parameter.asnumpy() for name, parameter in parameters.items()}
    fold_batch_norm(graph, weights)
    for name in list(weights):
        graph.initializer.append(numpy_helper.from_array(weights.pop(name), name))
    merge_groups(graph)
    _make_regular(graph, deployment.output)
    save(model, path)
    onnx.checker.check_model(path, full_check=True)


def _without_weights(deployment: Deployment, scratch: Path) -> ModelProto:
    """Return the graph with the weights as inputs: so MindSpore copies none, however large."""
    with plain(scratch.parent) as folder:
        mindspore.onnx.export(
            deployment.graph(),
            deployment.example(batch=2),
            file_name=str(folder / scratch.name),
            input_names=[INPUT],
            output_names=[deployment.output],
            export_params=False,
            dynamic_axes={INPUT: {0: "batch"}},
        )
    return onnx.load(scratch)


def _make_regular(graph: GraphProto, output: str) -> None:
    """Name nodes after their weights and values after their nodes; MindSpore numbers them."""
    names = {w.name: f"constant_{i}" for i, w in enumerate(graph.initializer) if "/" in w.name}
    for number, node in enumerate(graph.node):
        weight = next((name for name in node.input if name.endswith(".weight")), None)
        node.name = weight.removesuffix(".weight") if weight else f"{node.op_type}_{number}"
        names[node.output[0]] = node.name
    names[graph.output[0].name] = output
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    graph.name = "deployment"


def fold_batch_norm(graph: GraphProto, weights: Weights) -> None:
    """Replace every convolution and the batch norm behind it by one convolution, in place.

    The weights of the graph change with it (Jacob et al. 2017, arXiv:1712.05877, 3.2). A batch norm
    stays if its input comes from elsewhere, or is used elsewhere too.
    """
    # ONNX Runtime folds it too, when it loads a file. Here it is done once, in float64, for every
    # consumer: float16 and int8 are made from the folded weights, not from batch norm's own, and no
    # runtime has to know the fusion.
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
