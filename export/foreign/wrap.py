"""The deployment graph around a foreign model: uint8 NHWC in, float32 probabilities out."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from bundle.manifest import Normalization
from bundle.stamp import NAMESPACE
from export.config import OutputKind
from export.errors import ExportError
from export.failures import told
from export.foreign import outputs
from export.foreign.file import bodies, graphs
from export.foreign.inputs import Prelude
from export.foreign.names import PREFIX, prefix
from export.foreign.signature import Signature
from export.formats.grouped import merge_groups
from export.formats.onnx_model import opset, save
from export.original import INPUT, OUTPUT, FileFormat

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
        with told(f"{self.path} cannot be written as a deployment graph"):
            model = onnx.load(self.path)
            if len(model.graph.output) > 1:
                keep_only(model.graph, self.signature.output)
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
    prefix(wrapped := model)
    wrapped.ir_version = max(wrapped.ir_version, LEAST_IR_VERSION)
    graph, size = wrapped.graph, signature.size
    prelude = Prelude(signature, normalization, opset(model))
    after, factors = _after(signature, output_kind)
    nodes = [*prelude.nodes, *graph.node, *after]
    for field in (graph.node, graph.input, graph.output, graph.value_info):
        del field[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*prelude.constants, *factors])
    merge_groups(graph)
    batch = signature.batch or "batch"
    shape = [batch, size.height, size.width, 3]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape))
    answers = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, classes])
    graph.output.append(answers)
    _drop_stamp(wrapped)
    return wrapped


def free_batch(graph: GraphProto, signature: Signature) -> None:
    """Make the batch dynamic, in place, as far as it is fixed by reshapes."""
    parts = list(graphs(graph))
    shapes = {name: tensor for part in parts for name, tensor in _constants(part).items()}
    for node in (node for part in parts for node in part.node):
        if node.op_type == "Reshape" and node.input[1] in shapes:
            _free(shapes[node.input[1]], signature.batch)


def keep_only(graph: GraphProto, output: str) -> None:
    """Drop the other outputs and the nodes that only they need, in place."""
    needed = {output}
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if needed & {*node.output}:
            needed |= {*node.input} | _used_inside(node)
        else:
            del graph.node[index]
    _drop_other(graph.output, {output})
    _drop_other(graph.initializer, needed)


def _used_inside(node: NodeProto) -> set[str]:
    """Return all names in the bodies of a node; some of them come from the graph around it."""
    parts = [part for body in bodies(node) for part in graphs(body)]
    names = {name for part in parts for inner in part.node for name in inner.input}
    return names | {value.name for part in parts for value in part.output}


def _drop_other(values: Any, names: set[str]) -> None:
    for index in reversed(range(len(values))):
        if values[index].name not in names:
            del values[index]


def _after(
    signature: Signature, output_kind: OutputKind
) -> tuple[list[NodeProto], list[TensorProto]]:
    axis = int(signature.has_batch_axis)
    flat = [
        helper.make_node("Flatten", [PREFIX + signature.output], ["flat"], axis=axis),
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
