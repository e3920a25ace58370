"""The deployment graph around a foreign model: uint8 NHWC in, float32 probabilities out."""

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    compose,
    helper,
    numpy_helper,
)

from bundle.manifest import Normalization
from bundle.stamp import NAMESPACE
from export.foreign.config import OutputKind
from export.foreign.signature import Signature
from export.formats import INPUT, OUTPUT

PREFIX = "model/"
# Older files list their weights among the inputs; from here on they need not.
LEAST_IR_VERSION = 4


def wrap(
    model: ModelProto,
    signature: Signature,
    normalization: Normalization,
    output_kind: OutputKind,
    classes: int,
) -> ModelProto:
    """Return `model`, changed in place, as part of the deployment graph.

    The batch is the signature's.
    """
    wrapped = compose.add_prefix(model, PREFIX, inplace=True)
    wrapped.ir_version = max(wrapped.ir_version, LEAST_IR_VERSION)
    graph, size = wrapped.graph, signature.size
    before, constants = _before(signature, normalization)
    nodes = [*before, *graph.node, *_after(signature, output_kind)]
    for field in (graph.node, graph.input, graph.output, graph.value_info):
        del field[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    batch = signature.batch or "batch"
    shape = [batch, size.height, size.width, 3]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape))
    answers = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, classes])
    graph.output.append(answers)
    _drop_stamp(wrapped)
    return wrapped


def free_batch(graph: GraphProto, signature: Signature) -> None:
    """Let the batch be dynamic, in place, as far as reshapes are what fixes it."""
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.name in (signature.input, signature.output):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    shapes = _constants(graph)
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[1] in shapes:
            _free(shapes[node.input[1]], signature.batch)


def _before(
    signature: Signature, normalization: Normalization
) -> tuple[list[NodeProto], list[TensorProto]]:
    nodes, constants, last = [], [], INPUT
    if signature.dtype != np.uint8:
        mean = numpy_helper.from_array(np.array(normalization.mean, np.float32), "mean")
        std = numpy_helper.from_array(np.array(normalization.std, np.float32), "std")
        constants = [mean, std]
        nodes = [
            helper.make_node("Cast", [INPUT], ["cast"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["cast", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["normal"]),
        ]
        last = "normal"
    if signature.layout == "NCHW":
        nodes.append(helper.make_node("Transpose", [last], ["channels_first"], perm=[0, 3, 1, 2]))
        last = "channels_first"
    to = helper.np_dtype_to_tensor_dtype(signature.dtype)
    nodes.append(helper.make_node("Cast", [last], [PREFIX + signature.input], to=to))
    return nodes, constants


def _after(signature: Signature, output_kind: OutputKind) -> list[NodeProto]:
    nodes = [
        helper.make_node("Flatten", [PREFIX + signature.output], ["flat"], axis=1),
        helper.make_node("Cast", ["flat"], ["answers"], to=TensorProto.FLOAT),
    ]
    if output_kind == "logits":
        return [*nodes, helper.make_node("Softmax", ["answers"], [OUTPUT], axis=1)]
    return [*nodes, helper.make_node("Identity", ["answers"], [OUTPUT])]


def _drop_stamp(model: ModelProto) -> None:
    """Forget what another bundle stated, should the model come from one; it gets a new stamp."""
    kept = [entry for entry in model.metadata_props if not entry.key.startswith(NAMESPACE)]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)


def _constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Return the constant tensors of a graph by name."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.type == AttributeProto.TENSOR:
                constants[node.output[0]] = attribute.t
    return constants


def _free(shape: TensorProto, batch: int | None) -> None:
    """Let a reshape to a fixed batch keep the batch that comes in: 0 means as before."""
    sizes = numpy_helper.to_array(shape).copy()
    if sizes.size and sizes[0] == batch:
        sizes[0] = 0
        shape.CopyFrom(numpy_helper.from_array(sizes, shape.name))
