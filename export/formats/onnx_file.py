"""ONNX through MindSpore's exporter, then made fit to serve.

MindSpore 2.10 writes opset 11, leaves batch norm unfused and the output's batch size static.
"""

from pathlib import Path

import mindspore.onnx
import onnx
from onnx import GraphProto, ModelProto, numpy_helper

from export.formats import INPUT, OUTPUT
from export.formats.batch_norm import fold_batch_norm
from export.formats.opset import lift
from export.formats.storage import save
from export.graph import Deployment


def write(deployment: Deployment, path: Path) -> None:
    """Write the deployment graph: uint8 (batch, height, width, 3) -> float32 (batch, classes).

    Opset 17, the batch dynamic at both ends, batch norm folded; the same weights give the same
    bytes.
    """
    model = _bare(deployment, path)
    lift(model)
    graph = model.graph
    del graph.input[1:]
    graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    parameters = deployment.network.parameters_dict()
    weights = {name: parameter.asnumpy() for name, parameter in parameters.items()}
    fold_batch_norm(graph, weights)
    for name in list(weights):
        graph.initializer.append(numpy_helper.from_array(weights.pop(name), name))
    _make_regular(graph)
    save(model, path)
    onnx.checker.check_model(path, full_check=True)


def _bare(deployment: Deployment, scratch: Path) -> ModelProto:
    """Return the graph with the weights as inputs: so MindSpore copies none, however large."""
    mindspore.onnx.export(
        deployment.graph(),
        deployment.example(batch=2),
        file_name=str(scratch),
        input_names=[INPUT],
        output_names=[OUTPUT],
        export_params=False,
        dynamic_axes={INPUT: {0: "batch"}},
    )
    return onnx.load(scratch)


def _make_regular(graph: GraphProto) -> None:
    """Name nodes after their weights and values after their nodes; MindSpore numbers them."""
    names = {w.name: f"constant_{i}" for i, w in enumerate(graph.initializer) if "/" in w.name}
    for number, node in enumerate(graph.node):
        weight = next((name for name in node.input if name.endswith(".weight")), None)
        node.name = weight.removesuffix(".weight") if weight else f"{node.op_type}_{number}"
        names[node.output[0]] = node.name
    names[graph.output[0].name] = OUTPUT
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    graph.name = "deployment"
