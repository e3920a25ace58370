"""What a foreign model takes and gives, as its file states it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto
from onnx.helper import tensor_dtype_to_np_dtype

from bundle.manifest import Precision
from export.config import ChannelOrder
from export.errors import ExportError
from export.foreign.file import described, graphs
from images.transform import Size

Channels = Literal["rgb", "bgr", "grey"]
Layout = Literal["NCHW", "NHWC"]
AXES: dict[Layout, int] = {"NCHW": 1, "NHWC": 3}

IMAGE_TYPES: Collection[int] = {TensorProto.UINT8, TensorProto.FLOAT, TensorProto.FLOAT16}
# No answer is a whole number of 32 or 64 bits: that would be the index of a class.
ANSWER_TYPES: Collection[int] = {
    *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE),
    *(TensorProto.UINT8, TensorProto.INT8),
}
# Of a fixed batch, which a server pads with zeros.
MOST_IMAGES = 1024
QUANTISED = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"}


@dataclass(frozen=True)
class Signature:
    """One batch of images in, one vector per image out.

    `batch` is the only batch size that the model runs, None if it runs any; `has_batch_axis` is
    whether the first axis of the output is that of the batch.
    """

    input: str
    output: str
    dtype: np.dtype[np.generic]
    layout: Layout
    size: Size
    batch: int | None
    precision: Precision
    channels: Channels = "rgb"
    has_batch_axis: bool = True


def read_signature(
    model: ModelProto, size: Size, output: str | None = None, order: ChannelOrder = "rgb"
) -> Signature:
    """Return the model's signature for images of `size`; raise `ExportError` if it has none.

    Args:
        model: the model, with or without its weights.
        size: of the images that the transform gives.
        output: name of the output to serve; None if there is only one.
        order: order of the channels that the model was trained on.
    """
    images, answer = _input(model.graph), _output(list(model.graph.output), output)
    dims = _dims(images)
    layout, channels = _layout(images, dims)
    if order == "bgr" and channels == 1:
        raise ExportError(f"input {images.name} takes grey images: leave --channel-order out")
    height, width = dims[2:] if layout == "NCHW" else dims[1:3]
    if (height or size.height, width or size.width) != (size.height, size.width):
        raise ExportError(
            f"input {images.name} takes images of {height} x {width}, but the transform crops to "
            f"{size.height} x {size.width}; give a --transform that fits"
        )
    if (dims[0] or 1) > MOST_IMAGES:
        raise ExportError(
            f"input {images.name} takes {dims[0]} images at once and no other number; more than "
            f"{MOST_IMAGES} are not served, so export the model with another batch or any"
        )
    return Signature(
        input=images.name,
        output=answer.name,
        dtype=np.dtype(tensor_dtype_to_np_dtype(images.type.tensor_type.elem_type)),
        layout=layout,
        size=size,
        batch=dims[0],
        precision=_precision(model.graph),
        channels="grey" if channels == 1 else order,
    )


def _input(graph: GraphProto) -> ValueInfoProto:
    # Older files list their weights among the inputs.
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {tensor.values.name for tensor in graph.sparse_initializer}
    values = [value for value in graph.input if value.name not in weights]
    if len(values) != 1:
        raise ExportError(
            f"the model must have exactly one input, a batch of images; it has: {described(values)}"
        )
    _check_type("input", values[0], IMAGE_TYPES, "images must be UINT8, FLOAT or FLOAT16")
    return values[0]


def _output(values: list[ValueInfoProto], name: str | None) -> ValueInfoProto:
    wanted = [value for value in values if name in (None, value.name)]
    if len(wanted) != 1:
        hint = f"there is no output {name}" if name else "name the one to serve: --output-name"
        raise ExportError(f"the model's outputs are: {described(values)}; {hint}")
    _check_type("output", wanted[0], ANSWER_TYPES, "logits and probabilities are floats")
    return wanted[0]


def _check_type(what: str, value: ValueInfoProto, allowed: Collection[int], rule: str) -> None:
    kind = value.type.tensor_type.elem_type  # 0, undefined, of what is no tensor
    if kind not in allowed:
        name = TensorProto.DataType.Name(kind) if kind else described([value])
        raise ExportError(f"{what} {value.name} is {name}; {rule}")


def _dims(value: ValueInfoProto) -> list[int | None]:
    """Return the sizes of an image tensor's axes, None if dynamic; some tools write -1 for that."""
    dims = [
        dim.dim_value if dim.dim_value > 0 else None for dim in value.type.tensor_type.shape.dim
    ]
    if len(dims) != 4:
        raise ExportError(f"input {value.name} has {len(dims)} axes; images have 4")
    return dims


def _layout(images: ValueInfoProto, dims: list[int | None]) -> tuple[Layout, Literal[1, 3]]:
    """Return where the channels are, and how many; an axis of 3 is rather theirs than one of 1."""
    counts: tuple[Literal[3], Literal[1]] = (3, 1)
    for channels in counts:
        found = [layout for layout, axis in AXES.items() if dims[axis] == channels]
        if len(found) == 1:
            return found[0], channels
        if found:
            break
    raise ExportError(
        f"input {images.name} has shape {dims}: either axis 1 (NCHW) or axis 3 (NHWC) must be 3, "
        f"or 1 for grey images"
    )


def _precision(graph: GraphProto) -> Precision:
    parts = list(graphs(graph))
    if any(node.op_type in QUANTISED for part in parts for node in part.node):
        return "int8"
    halves = any(t.data_type == TensorProto.FLOAT16 for part in parts for t in part.initializer)
    return "fp16" if halves else "fp32"
