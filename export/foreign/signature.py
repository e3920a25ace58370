"""What a foreign model takes and gives, as its file states it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto
from onnx.helper import tensor_dtype_to_np_dtype

from bundle.manifest import Precision
from export.errors import ExportError
from images.transform import Size

IMAGE_TYPES = {TensorProto.UINT8, TensorProto.FLOAT, TensorProto.FLOAT16}
QUANTISED = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"}


@dataclass(frozen=True)
class Signature:
    """One batch of images in, one vector per image out."""

    input: str
    output: str
    dtype: np.dtype[np.generic]
    layout: Literal["NCHW", "NHWC"]
    size: Size
    batch: int | None
    precision: Precision


def read_signature(model: ModelProto, size: Size) -> Signature:
    """Return the model's signature for images of `size`; raise `ExportError` if it has none."""
    weights = {tensor.name for tensor in model.graph.initializer}
    images = _only("input", [v for v in model.graph.input if v.name not in weights])
    answer = _only("output", list(model.graph.output))
    kind = images.type.tensor_type.elem_type
    if kind not in IMAGE_TYPES:
        raise ExportError(
            f"input {images.name} is {TensorProto.DataType.Name(kind)}; "
            f"images must be UINT8, FLOAT or FLOAT16"
        )
    dims = _dims(images)
    layout = _layout(images.name, dims)
    height, width = dims[2:] if layout == "NCHW" else dims[1:3]
    if (height or size.height, width or size.width) != (size.height, size.width):
        raise ExportError(
            f"input {images.name} takes images of {height} x {width}, but the transform crops to "
            f"{size.height} x {size.width}; give a --transform that fits"
        )
    dtype = np.dtype(tensor_dtype_to_np_dtype(kind))
    precision = _precision(model.graph)
    return Signature(images.name, answer.name, dtype, layout, size, dims[0], precision)


def _only(what: str, values: list[ValueInfoProto]) -> ValueInfoProto:
    if len(values) != 1:
        names = ", ".join(value.name for value in values) or "none"
        raise ExportError(f"the model must have exactly one {what}; it has: {names}")
    return values[0]


def _dims(value: ValueInfoProto) -> list[int | None]:
    """Return the sizes of an image tensor's axes, None where dynamic."""
    dims = [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
    if len(dims) != 4:
        raise ExportError(f"input {value.name} has {len(dims)} axes; images have 4")
    return dims


def _layout(name: str, dims: list[int | None]) -> Literal["NCHW", "NHWC"]:
    first, last = dims[1] == 3, dims[3] == 3
    if first == last:
        raise ExportError(
            f"input {name} has shape {dims}: either axis 1 (NCHW) or axis 3 (NHWC) must be 3"
        )
    return "NCHW" if first else "NHWC"


def _precision(graph: GraphProto) -> Precision:
    if any(node.op_type in QUANTISED for node in graph.node):
        return "int8"
    halves = any(tensor.data_type == TensorProto.FLOAT16 for tensor in graph.initializer)
    return "fp16" if halves else "fp32"
