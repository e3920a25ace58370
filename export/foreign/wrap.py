"""The deployment graph around a foreign model: uint8 NHWC in, float32 probabilities out."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
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
from export.config import OutputKind
from export.errors import ExportError
from export.foreign import outputs
from export.foreign.model import Signature
from export.formats.onnx_model import save
from export.original import INPUT, OUTPUT, FileFormat

PREFIX = "model/"
# Older files list their weights among the inputs; from here on they need not.
LEAST_IR_VERSION = 4


@dataclass(frozen=True)
class Wrapping:
    """What to put around the file at `path`, which is read each time and not kept in memory.

    `frees` makes a fixed batch dynamic.
    """

    path: Path
    signature: Signature
    normalization: Normalization
    output_kind: OutputKind
    classes: int
    frees: bool = False

    @property
    def batch(self) -> int | None:
        """The only batch size that the deployment graph takes, None if it takes any."""
        return None if self.frees else self.signature.batch

    def write(self, file_format: FileFormat, path: Path) -> None:
        """Write the deployment graph; raise `ExportError` for a format other than ONNX."""
        if file_format != "ONNX":
            raise ExportError(f"a bundle from an ONNX file holds only ONNX, not {file_format}")
        model = onnx.load(self.path)
        if self.frees:
            free_batch(model.graph, self.signature)
        signature = replace(self.signature, batch=self.batch)
        save(wrap(model, signature, self.normalization, self.output_kind, self.classes), path)
        onnx.checker.check_model(path)


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
    after, factors = _after(signature, output_kind)
    nodes = [*before, *graph.node, *after]
    for field in (graph.node, graph.input, graph.output, graph.value_info):
        del field[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*constants, *factors])
    batch = signature.batch or "batch"
    shape = [batch, size.height, size.width, 3]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape))
    answers = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, classes])
    graph.output.append(answers)
    _drop_stamp(wrapped)
    return wrapped


def free_batch(graph: GraphProto, signature: Signature) -> None:
    """Make the batch dynamic, in place, as far as it is fixed by reshapes."""
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


def _after(
    signature: Signature, output_kind: OutputKind
) -> tuple[list[NodeProto], list[TensorProto]]:
    flat = [
        helper.make_node("Flatten", [PREFIX + signature.output], ["flat"], axis=1),
        helper.make_node("Cast", ["flat"], ["answers"], to=TensorProto.FLOAT),
    ]
    last, constants = outputs.nodes("answers", output_kind)
    return [*flat, *last], constants


def _drop_stamp(model: ModelProto) -> None:
    """Drop the stamp of another bundle, if the model comes from one; it gets a new one."""
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
