"""A foreign ONNX file before anything runs: read, checked, and what can be said of it."""

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    numpy_helper,
)

from export.errors import ExportError
from export.failures import told
from export.formats.onnx_model import opset

# Before that Sub and Div do not broadcast, and ONNX Runtime has no kernels for them.
LEAST_OPSET = 7
# Where a protobuf message ends.
MOST_BYTES = 2**31 - 1


def read_graph(path: Path) -> ModelProto:
    """Return the checked model, but not what it keeps in external data; raise `ExportError`."""
    with told(f"{path} is not a readable ONNX file"):
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ExportError(f"{path} is not a file; name the .onnx file itself")
        if found.st_size > MOST_BYTES:
            raise ExportError(
                f"{path} has {found.st_size} bytes, and an ONNX file ends at {MOST_BYTES}; save "
                f"its weights as external data beside it"
            )
        model = onnx.load(path, load_external_data=False)
        if not model.HasField("graph"):
            raise ExportError(f"{path} holds no graph; it is empty, or no ONNX file")
        _check_opset(path, opset(model))
        onnx.checker.check_model(path)
    return model


def _check_opset(path: Path, version: int) -> None:
    newest = onnx.defs.onnx_opset_version()
    if version < LEAST_OPSET:
        raise ExportError(
            f"{path} is of opset {version}; the graph around it needs {LEAST_OPSET} or newer, so "
            f"export the model again, or lift it with onnx.version_converter"
        )
    if version > newest:
        raise ExportError(
            f"{path} is of opset {version}; the newest that onnx {onnx.__version__} knows is "
            f"{newest}, so export the model again with that one or an older one"
        )


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and the bodies of If, Loop and Scan in it, at any depth."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from graphs(body)


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs that are attributes of a node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def described(values: Sequence[ValueInfoProto]) -> str:
    """Return names, types and shapes of inputs or outputs, as "images float[n, 3, 224, 224]"."""
    return ", ".join(map(_described, values)) or "none"


def _described(value: ValueInfoProto) -> str:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return f"{value.name} ({(kind or 'of no type').removesuffix('_type')})"
    tensor = value.type.tensor_type
    name = TensorProto.DataType.Name(tensor.elem_type).lower()
    if not tensor.HasField("shape"):
        return f"{value.name} {name}"
    sizes = [str(dim.dim_value or dim.dim_param or "?") for dim in tensor.shape.dim]
    return f"{value.name} {name}[{', '.join(sizes)}]"


def nonfinite_weight(path: Path) -> str | None:
    """Return the name of a weight of the file at `path` that holds NaN or infinity, if any does."""
    model = onnx.load(path)
    tensors = (tensor for graph in graphs(model.graph) for tensor in graph.initializer)
    return next((tensor.name for tensor in tensors if not _is_finite(tensor)), None)


def _is_finite(tensor: TensorProto) -> bool:
    values = numpy_helper.to_array(tensor)
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())
