"""A foreign model: its inputs and outputs, and the untouched file in ONNX Runtime."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto
from onnx.helper import tensor_dtype_to_np_dtype

from bundle.manifest import Normalization, Precision
from export.config import OutputKind
from export.errors import ExportError
from export.evaluation_set import padded
from export.foreign import outputs
from export.original import INPUT
from images.transform import Pixels, Size

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
    """Return the sizes of an image tensor's axes, None if dynamic."""
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


class OriginalRunner:
    """Runs the untouched file on uint8 pixels (n, height, width, 3); numpy does the rest."""

    def __init__(
        self,
        path: Path,
        signature: Signature,
        normalization: Normalization,
        output_kind: OutputKind,
    ) -> None:
        try:
            self._session = onnxruntime.InferenceSession(path, _quiet())
        except Exception as error:
            raise ExportError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        self._path, self._signature, self._kind = path, signature, output_kind
        self._mean = np.array(normalization.mean, np.float32)
        self._std = np.array(normalization.std, np.float32)

    def answers(self, pixels: Pixels) -> NDArray[np.float64]:
        """Return the file's output as it is, float64 (n, classes); raise `ExportError`."""
        batch = self._signature.batch or len(pixels)
        parts = [self._run(pixels[i : i + batch], batch) for i in range(0, len(pixels), batch)]
        return np.concatenate(parts).astype(np.float64)

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return float32 probabilities (n, classes)."""
        return outputs.probabilities(self.answers(pixels), self._kind).astype(np.float32)

    def _run(self, pixels: Pixels, batch: int) -> NDArray[Any]:
        feed = {self._signature.input: self._prepared(padded(pixels, batch))}
        try:
            answers: NDArray[Any] = self._session.run([self._signature.output], feed)[0]
        except Exception as error:  # ONNX Runtime's errors share no base
            raise ExportError(f"{self._mismatch(batch)}: {error}") from error
        if answers.shape[:1] != (batch,):
            raise ExportError(f"{self._mismatch(batch)}: the output has shape {answers.shape}")
        return answers.reshape(batch, -1)[: len(pixels)]

    def _mismatch(self, batch: int) -> str:
        fixed = self._signature.batch is not None
        return (
            f"{self._path} states that input {self._signature.input} takes "
            f"{f'{batch} images' if fixed else 'any batch'}, but {batch} images do not give "
            f"{batch} answers; export it again with {'another' if fixed else 'a fixed'} batch, or "
            f"so that the batch is kept throughout (reshape to -1)"
        )

    def _prepared(self, pixels: Pixels) -> NDArray[Any]:
        images: NDArray[Any] = pixels
        if self._signature.dtype != np.uint8:
            images = ((pixels.astype(np.float32) - self._mean) / self._std).astype(
                self._signature.dtype
            )
        return images.transpose(0, 3, 1, 2) if self._signature.layout == "NCHW" else images


def runs_any_batch(
    path: Path, pixels: Pixels, expected: NDArray[np.float32], tolerance: float
) -> bool:
    """Return whether the wrapped model at `path` answers as expected in batches of any size."""
    try:
        session = onnxruntime.InferenceSession(path, _quiet())
        for batch in (1, 3, len(pixels)):
            [answers] = session.run(None, {INPUT: pixels[:batch]})
            if not np.allclose(answers, expected[:batch], rtol=0, atol=tolerance):
                return False
    except Exception:  # noqa: BLE001  # ONNX Runtime's errors share no base; any says no
        return False
    return True


def _quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    # Only fatal errors: a batch size that does not run is an answer here, not an error to print.
    options.log_severity_level = 4
    return options
