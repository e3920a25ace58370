"""EfficientNet-Lite0 as an ONNX graph.

Inverted bottlenecks (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excitation, and with
ReLU6, as in the official TensorFlow implementation, of which these weights are a conversion.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from training.checkpoint.torch_file import Weights

SIDE, CLASSES = 224, 1000
# Of its images: efficientnet_lite_builder.py of that implementation.
MEAN, STD = 127.0, 128.0
EPSILON = 1e-3  # of every batch norm
OPSET, IR_VERSION = 17, 8


@dataclass(frozen=True)
class Stage:
    """Blocks of one size; the first one takes the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int


STAGES = (
    Stage(1, 3, 1, 1), Stage(2, 3, 2, 6), Stage(2, 5, 2, 6), Stage(3, 3, 2, 6),
    Stage(3, 5, 1, 6), Stage(4, 5, 2, 6), Stage(1, 3, 1, 6),
)  # fmt: skip


def write(weights: Weights, path: Path) -> None:
    """Write float32 images (n, 3, 224, 224) -> logits (n, 1000), of any batch."""
    builder = _Builder(weights)
    logits = builder.network("images")
    shape: list[str | int | None] = ["n", 3, SIDE, SIDE]
    graph = helper.make_graph(
        builder.nodes,
        "efficientnet_lite0",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["n", CLASSES])],
        builder.constants,
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@dataclass
class _Builder:
    """Adds nodes one after the other; `side` is that of the latest feature map, in pixels."""

    weights: Weights
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    side: int = SIDE

    def network(self, images: str) -> str:
        """Add the whole of it; return the name of the logits."""
        last = self._convolution(images, "_conv_stem", "_bn0", stride=2)
        index = 0
        for stage in STAGES:
            for repeat in range(stage.repeats):
                stride = 1 if repeat else stage.stride
                last = self._block(last, f"_blocks.{index}.", stage.expansion, stride)
                index += 1
        last = self._convolution(last, "_conv_head", "_bn1")
        last = self._add("GlobalAveragePool", [last])
        last = self._add("Flatten", [last])
        dense = [self._constant(name, self.weights[name]) for name in ("_fc.weight", "_fc.bias")]
        return self._add("Gemm", [last, *dense], output="logits", transB=1)

    def _block(self, source: str, name: str, expansion: int, stride: int) -> str:
        last, middle, end = source, f"{name}_depthwise_conv", f"{name}_project_conv"
        if expansion > 1:
            last = self._convolution(last, f"{name}_expand_conv", f"{name}_bn0")
        last = self._convolution(last, middle, f"{name}_bn1", stride=stride, depthwise=True)
        last = self._convolution(last, end, f"{name}_bn2", linear=True)
        same = stride == 1 and self._channels(middle) == expansion * self._channels(end)
        return self._add("Add", [last, source]) if same else last

    def _channels(self, convolution: str) -> int:
        """Return how many channels a convolution gives."""
        return len(self.weights[f"{convolution}.weight"])

    def _convolution(
        self,
        source: str,
        name: str,
        norm: str,
        *,
        stride: int = 1,
        depthwise: bool = False,
        linear: bool = False,
    ) -> str:
        """Add a convolution with its batch norm inside, and ReLU6 unless it is linear."""
        kernel = self.weights[f"{name}.weight"]
        scale, bias = _folded(self.weights, norm)
        inputs = [
            source,
            self._constant(f"{name}.weight", kernel * scale[:, None, None, None]),
            self._constant(f"{name}.bias", bias),
        ]
        convolved = self._add(
            "Conv",
            inputs,
            strides=[stride, stride],
            pads=self._pads(kernel.shape[-1], stride),
            group=len(kernel) if depthwise else 1,
        )
        if linear:
            return convolved
        return self._add("Clip", [convolved, *self._bounds()])

    def _pads(self, kernel: int, stride: int) -> list[int]:
        """Return TensorFlow's "same": the odd pixel at the end; the side shrinks by the stride."""
        given = -(-self.side // stride)
        pixels = max((given - 1) * stride + kernel - self.side, 0)
        self.side = given
        return [pixels // 2, pixels // 2, pixels - pixels // 2, pixels - pixels // 2]

    def _bounds(self) -> list[str]:
        return [self._constant("zero", np.float32(0)), self._constant("six", np.float32(6))]

    def _constant(self, name: str, value: NDArray[np.float32] | np.float32) -> str:
        if all(tensor.name != name for tensor in self.constants):
            tensor = numpy_helper.from_array(np.asarray(value, np.float32), name)
            self.constants.append(tensor)
        return name

    def _add(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name


def _folded(weights: Weights, norm: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what a batch norm multiplies by, and adds, per channel."""
    gamma, beta, mean, variance = (
        weights[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + EPSILON)
    return scale, beta - mean * scale
