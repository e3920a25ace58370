"""Static quantisation: QDQ nodes, uint8 between layers, int8 weights with a scale per channel.

Weights use 7 of their 8 bits: on x86-64 without VNNI the sum of two products of a byte and a full
int8 weight saturates at 16 bits, and the same file would answer differently there. Depthwise
convolutions use all 8: their kernels add no such pairs, and they suffer most from fewer bits.
"""

import serving.backends.ort.library  # noqa: F401  # isort: skip  # before onnxruntime

import io
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import islice
from pathlib import Path
from typing import Any

import onnx
from onnx import GraphProto
from onnxruntime.quantization import (  # noqa: TID251
    CalibrationMethod,
    QuantFormat,
    QuantType,
    create_calibrator,
    quant_pre_process,
    quantize_static,
    save_tensors_data,
)

from export.errors import PrecisionError
from export.evaluation_set import HeldImages
from export.formats.onnx_model import OPSET, data_path, lift, opset, save
from export.original import INPUT
from export.precision.cost import Method
from export.precision.sensitivity import noise
from images.transform import Pixels

LAYERS = ("Conv", "Gemm", "MatMul")
# Between layers, so that values stay in eight bits from one to the next; not Softmax, whose answer
# would come in steps of 1/255.
OPERATORS = [*LAYERS, "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool",
    "MaxPool", "Relu", "Reshape"]  # fmt: skip

METHODS: dict[Method, CalibrationMethod] = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
# Entropy needs more bins than levels to have a choice, and ONNX Runtime's default gives it none;
# a range symmetric about zero would waste half of the levels behind a ReLU.
OPTIONS: dict[Method, dict[str, Any]] = {
    "minmax": {},
    "entropy": {"num_bins": 512, "num_quantized_bins": 128},
    "percentile": {"num_bins": 2048, "percentile": 99.99, "symmetric": False},
}

# Of a weight with a scale per channel.
ALL_BITS = {
    "axis": 0,
    "quant_type": QuantType.QInt8,
    "reduce_range": False,
    "symmetric": True,
}

RANKING_IMAGES = 64
# DequantizeLinear takes a scale per channel from here on.
LEAST_OPSET = 13


class Quantizer:
    """A float32 file that can be written in int8, as a whole or in part.

    Raises `PrecisionError` if it has no layer to quantise, or its opset is too old.

    Args:
        source: the float32 deployment graph.
        scratch: an empty directory for what is used again.
        images: what the ranges are calibrated on.
        batch: images at once; what is left over of `images` is not used.
    """

    def __init__(self, source: Path, scratch: Path, images: HeldImages, batch: int) -> None:
        self._scratch, self._images, self._batch = scratch, images, batch
        self.model = scratch / "preprocessed.onnx"
        self._external = _preprocess(source, self.model)
        model = onnx.load(self.model, load_external_data=False)
        self.layers, self._depthwise = _layers(model), _depthwise(model)
        if not self.layers:
            raise PrecisionError(
                f"int8: this model has no {', '.join(LAYERS)} with constant weights that could be "
                f"quantised; leave int8 out of --precision"
            )

    def write(self, target: Path, method: Method, kept: list[str]) -> None:
        """Write the int8 file; the layers `kept` stay in float32."""
        # ONNX appends to external data that is there.
        data_path(target).unlink(missing_ok=True)
        with _widened_scales_untold():
            self._quantize(target, method, kept)

    def _quantize(self, target: Path, method: Method, kept: list[str]) -> None:
        quantize_static(
            self.model,
            target,
            calibration_cache_path=self._ranges(method),
            calibrate_method=METHODS[method],
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=OPERATORS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
            use_external_data_format=self._external,
            extra_options={
                # What goes into the softmax keeps its precision.
                "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],
                "TensorQuantOverrides": {name: [ALL_BITS] for name in self._depthwise},
            },
        )

    def noise(self, method: Method) -> dict[str, float]:
        """Return noise over signal of every layer, if only that one were in int8."""
        whole = self._scratch / "whole.onnx"
        self.write(whole, method, kept=[])
        few = islice(self._batches(), max(1, RANKING_IMAGES // self._batch))
        return noise(self.model, whole, self.layers, few, self._scratch / "probe.onnx")

    def _ranges(self, method: Method) -> Path:
        """Return the file of the ranges, which is written when it is first asked for."""
        ranges = self._scratch / f"{method}.json"
        if not ranges.exists():
            self._calibrate(method, ranges)
        return ranges

    def _calibrate(self, method: Method, ranges: Path) -> None:
        """Write the range of every value that the operators take or give, as JSON."""
        # ONNX Runtime's collectors print their progress.
        with redirect_stdout(io.StringIO()):
            calibrator = create_calibrator(
                self.model,
                OPERATORS,
                augmented_model_path=str(ranges.with_suffix(".onnx")),
                calibrate_method=METHODS[method],
                use_external_data_format=self._external,
                extra_options=OPTIONS[method],
            )
            for pixels in self._batches():
                # One batch at a time: a collector holds every value between layers of its input.
                calibrator.collect_data(_Once(pixels))
            save_tensors_data(calibrator.compute_data(), ranges)

    def _batches(self) -> Iterator[Pixels]:
        batches = self._images.batches(self._batch)
        return (pixels for pixels in batches if len(pixels) == self._batch)


@contextmanager
def _widened_scales_untold() -> Iterator[None]:
    """Leave out what ONNX Runtime warns of each channel whose bias asked for a wider scale.

    A depthwise network has hundreds of them in every file that is tried, and nothing is lost that
    the comparison of answers does not see. It logs them by the root logger.
    """

    def filter_(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Increased scale[")

    root = logging.getLogger()
    root.addFilter(filter_)
    try:
        yield
    finally:
        root.removeFilter(filter_)


def _preprocess(source: Path, target: Path) -> bool:
    """Write `source` folded, named and with all shapes; return whether it has external data."""
    named = target.with_name("named.onnx")
    model = onnx.load(source)
    if opset(model) < LEAST_OPSET:
        _lift(model)
    _name_nodes(model.graph)
    save(model, named)
    external = data_path(named).exists()
    # Symbolic shapes matter only to transformers, and need sympy.
    quant_pre_process(
        named,
        target,
        skip_symbolic_shape=True,
        save_as_external_data=external,
        all_tensors_to_one_file=True,
        external_data_location=data_path(target).name,
    )
    return external


def _name_nodes(graph: GraphProto) -> None:
    """Name every node without a name of its own after its output: reports name layers."""
    uses = Counter(node.name for node in graph.node)
    for node in graph.node:
        if not node.name or uses[node.name] > 1:
            node.name = node.output[0]


def _lift(model: onnx.ModelProto) -> None:
    try:
        lift(model)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        raise PrecisionError(
            f"int8 needs opset {LEAST_OPSET} or newer, and this model of opset {opset(model)} "
            f"cannot be lifted to {OPSET}; export it again, or leave int8 out of --precision: "
            f"{error}"
        ) from error


def _layers(model: onnx.ModelProto) -> list[str]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in LAYERS and any(name in weights for name in node.input)
    ]


def _depthwise(model: onnx.ModelProto) -> list[str]:
    """Return the weights of the convolutions of which each output has one channel of input."""
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    convolutions = (node for node in model.graph.node if node.op_type == "Conv")
    weights = [node.input[1] for node in convolutions if node.input[1] in shapes]
    return [name for name in weights if shapes[name][1] == 1 < shapes[name][0]]


class _Once:
    """One batch as a data reader."""

    def __init__(self, pixels: Pixels) -> None:
        self._feeds = iter([{INPUT: pixels}])

    def get_next(self) -> dict[str, Pixels] | None:
        """Return the batch, then None."""
        return next(self._feeds, None)
