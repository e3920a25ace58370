"""From RGB bytes to what a foreign model takes: as nodes of the graph, and in numpy to compare.

uint8 (batch, height, width, 3) -> normalised, in the model's order of channels or grey, in its
layout and its type.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bundle.manifest import Normalization
from export.errors import ExportError
from export.foreign.names import PREFIX
from export.foreign.signature import AXES, Signature
from export.original import INPUT, PRELUDE
from images.transform import Pixels

IDENTITY = Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
# ITU-R BT.601 as Pillow's convert("L") computes it: (19595 R + 38470 G + 7471 B + 32768) >> 16.
# All sums are whole numbers below 2**24, so float32 has them exactly, in any order.
LUMA, HALF, SHIFT = (19595, 38470, 7471), 32768, 16
# From this opset on the axes of ReduceSum are an input.
AXES_ARE_INPUT = 13


def check_normalization(signature: Signature, normalization: Normalization) -> None:
    """Raise `ExportError` if the model cannot be given images that are normalised like this."""
    if signature.dtype == np.uint8 and normalization != IDENTITY:
        raise ExportError(
            f"input {signature.input} takes bytes, so the model normalises them itself: "
            f"--transform must state mean 0, 0, 0 and std 1, 1, 1"
        )
    grey = len({*normalization.mean}) == len({*normalization.std}) == 1
    if signature.channels == "grey" and not grey:
        raise ExportError(
            f"input {signature.input} takes grey images: --transform must state the same mean "
            f"three times, and the same std"
        )


def prepared(pixels: Pixels, signature: Signature, normalization: Normalization) -> NDArray[Any]:
    """Return what the model takes for uint8 RGB (n, height, width, 3)."""
    images: NDArray[Any] = pixels
    mean, std = (np.array(v, np.float32) for v in (normalization.mean, normalization.std))
    if signature.channels == "grey":
        images = ((pixels.astype(np.int32) @ np.array(LUMA) + HALF) >> SHIFT)[..., None]
        images, mean, std = images.astype(np.uint8), mean[:1], std[:1]
    if signature.dtype != np.uint8:
        images = ((images.astype(np.float32) - mean) / std).astype(signature.dtype)
    if signature.channels == "bgr":
        images = images[..., ::-1]
    return images.transpose(0, 3, 1, 2) if signature.layout == "NCHW" else images


class Prelude:
    """The nodes in front of the model, and their constants; each takes what the last one gives.

    Args:
        signature: what the model takes.
        normalization: of RGB images; of a grey model, of its one channel.
        opset: of the model.
    """

    def __init__(self, signature: Signature, normalization: Normalization, opset: int) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._last, self._opset, self._axis = INPUT, opset, AXES[signature.layout]
        grey, bytes_in = signature.channels == "grey", signature.dtype == np.uint8
        # First of all, while the pixels are bytes: runtimes transpose floats far more slowly.
        if signature.layout == "NCHW":
            self._add("Transpose", "channels_first", perm=[0, 3, 1, 2])
        if grey or not bytes_in:
            self._add("Cast", "cast", to=TensorProto.FLOAT)
        if grey:
            self._add_luma()
        if not bytes_in:
            count = 1 if grey else 3
            self._add("Sub", "centred", mean=self._per_channel(normalization.mean[:count]))
            self._add("Div", "normal", std=self._per_channel(normalization.std[:count]))
        if signature.channels == "bgr":
            order = np.array([2, 1, 0])
            self._add_named("Gather", "bgr", channel_order=order, axis=self._axis)
        kind = helper.np_dtype_to_tensor_dtype(signature.dtype)
        self._add("Cast", PREFIX + signature.input, to=kind)

    def _add_luma(self) -> None:
        axis = [self._axis]
        self._add_named("Mul", "weighted", luma=self._per_channel(LUMA))
        axes = {"luma_axes": np.array(axis)} if self._opset >= AXES_ARE_INPUT else {"axes": axis}
        self._add_named("ReduceSum", "luma_sum", **axes)
        # Sub, because Add would be quantised for int8.
        self._add_named("Sub", "luma_half", luma_rounding=np.array([-HALF], np.float32))
        self._add_named("Mul", "luma_shifted", luma_scale=np.array([2.0**-SHIFT], np.float32))
        self._add_named("Floor", "grey")

    def _per_channel(self, values: Sequence[float]) -> NDArray[np.float32]:
        """Return one value per channel, in a shape that spreads over images of the layout."""
        shape = [1, 1, 1, 1]
        shape[self._axis] = len(values)
        return np.array(values, np.float32).reshape(shape)

    def _add_named(self, operator: str, output: str, **values: Any) -> None:
        """Add a node with a name, by which the reduction to float16 leaves it alone."""
        self._add(operator, output, **values)
        self.nodes[-1].name = PRELUDE + output

    def _add(self, operator: str, output: str, **values: Any) -> None:
        """Add a node; arrays among the values are constant inputs, all others attributes."""
        constants = {k: v for k, v in values.items() if isinstance(v, np.ndarray)}
        attributes = {k: v for k, v in values.items() if k not in constants}
        self.constants += [numpy_helper.from_array(v, name) for name, v in constants.items()]
        inputs = [self._last, *constants]
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        self._last = output
