"""Networks with random weights as ONNX files, and what `benchmarks.models` makes bundles of."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from benchmarks.models import Network
from benchmarks.photos import jpeg, photo
from benchmarks.weights import CLASSES, SIDE, Layer, Untrained, network
from bundle.manifest import IMAGENET
from bundle.preparation import Preparation
from export.config import FromOnnxConfig
from export.evaluation_set import HeldImages
from export.foreign.source import from_onnx
from export.formats.onnx_model import OPSET, save
from export.original import Original
from images.transform import Size, Stretch, Transform

# Photos to calibrate int8 on, other ones than those that are sent.
CALIBRATION_SEEDS, CALIBRATION_BATCH = range(1000, 1008), 2
TRANSFORM = Transform(
    resize=Stretch(height=256, width=256), crop=Size(height=SIDE, width=SIDE), antialias=False
)


def original(config: FromOnnxConfig) -> Original:
    """Return the network whose file `write_original` wrote; its bundle may have int8."""
    return replace(from_onnx(config), quantize=_quantize)


def write_original(name: Network, folder: Path) -> dict[str, str]:
    """Write what the export makes a bundle of; return it by the names of the export's flags."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        "model": folder / f"{name}.onnx",
        "labels": folder / "labels.txt",
        "transform": folder / "transform.json",
    }
    save(onnx_model(network(name)), paths["model"])
    paths["labels"].write_text("".join(f"{index}\n" for index in range(CLASSES)))
    preparation = Preparation(transform=TRANSFORM, normalization=IMAGENET)
    paths["transform"].write_text(preparation.model_dump_json())
    return {flag: str(path) for flag, path in paths.items()}


def onnx_model(layers: Untrained, side: int = SIDE) -> ModelProto:
    """Return the network: float32 (batch, 3, side, side), normalised -> logits (batch, classes)."""
    graph = helper.make_graph(
        list(_nodes(layers)),
        "untrained",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", layers.classes])],
        [numpy_helper.from_array(p.values(), name) for name, p in layers.parameters().items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets)
    )


def _nodes(layers: Untrained) -> list[NodeProto]:
    """Return the operators that MindSpore's exporter writes of the same network, batch norm folded.

    "same" pads its max-pool (0, 1) on even sizes, which (1, 1) does not reproduce.
    """
    nodes = list[NodeProto]()

    def add(operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"{operator}_{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def convolve(layer: Layer, x: str) -> str:
        side, half = layer.kernel, layer.kernel // 2
        return add(
            "Conv", x, f"{layer.name}.weight", f"{layer.name}.bias", name=layer.name,
            dilations=[1, 1], group=layer.groups, kernel_shape=[side] * 2, pads=[half] * 4,
            strides=[layer.stride] * 2,
        )  # fmt: skip

    x = add("Relu", convolve(layers.stem, "images"))
    if layers.architecture.stem.pool:
        x = add("MaxPool", x, kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2])
    for block in layers.blocks():
        y = add("Relu", convolve(block.first, x))
        y = convolve(block.last, add("Relu", convolve(block.grouped, y)))
        shortcut = convolve(block.shortcut, x) if block.shortcut else x
        x = add("Relu", add("Add", y, shortcut))
    x = add("ReduceMean", x, axes=[2, 3], keepdims=0)
    head = layers.head.name
    add("Gemm", x, f"{head}.weight", f"{head}.bias", name=head, transA=0, transB=1)
    nodes[-1].output[:] = ["logits"]
    return nodes


def _quantize(source: Path, target: Path) -> None:
    """Write the int8 copy of a float32 file, calibrated on photos: no accuracy can judge it."""
    from export.precision.quantizer import Quantizer

    photos = np.stack([TRANSFORM.decode(jpeg(photo(seed))) for seed in CALIBRATION_SEEDS])
    # Random weights make as much of the rounding that differs between runtimes as of int8 itself,
    # so that a file would fail the proof in one of them. With half of the contrast its ranges clip,
    # which is the same everywhere, and sets its answers apart.
    pale = photos // 2 + 64
    with TemporaryDirectory(prefix="int8-") as scratch:
        held = HeldImages("photos made from seeds", pale)
        Quantizer(source, Path(scratch), held, CALIBRATION_BATCH).write(target, "minmax", kept=[])
