"""A small classifier of Fashion-MNIST as an ONNX file: random convolutions, a fitted last layer."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.evaluation_set import ImageSet
from export.original import INPUT, OUTPUT
from serving.backends.ort.library import onnxruntime

MEAN, STD = 72.94, 90.02
CHANNELS = 24
SHARPNESS = 6.0

Array = NDArray[np.float32]


def write_network(path: Path, images: ImageSet, outliers: int = 0, opset: int = 17) -> Path:
    """Write a network fitted to the images; `outliers` of its layers do not survive int8.

    Such a layer copies its input, but each of its channels also takes a dead one, which is always
    zero, times a thousand: in eight bits the thousand is all that is left.
    """
    shape = 1, 3, 1, 1
    weights = {"mean": np.full(shape, MEAN, np.float32), "std": np.full(shape, STD, np.float32)}
    nodes = [
        helper.make_node("Transpose", [INPUT], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["channels_first"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["cast", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normal"]),
        *_convolution("stem", "normal", _random(1, 3, 5), weights),
        *_convolution("body", "stem_relu", _random(2, CHANNELS, 3), weights),
    ]
    weights["body.bias"][-1] = -1e4
    last = "body_relu"
    for number in range(outliers):
        copying = np.eye(CHANNELS, dtype=np.float32)
        copying[:, -1] = 1000
        name = f"outlier{number}"
        nodes += _convolution(name, last, copying[:, :, None, None], weights, stride=1)
        last = f"{name}_relu"
    nodes += [
        helper.make_node("AveragePool", [last], ["pooled"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Flatten", ["pooled"], ["features"], axis=1),
    ]
    features = _run(_model(nodes, weights, "features", 3), images)
    weights["head.weight"], weights["head.bias"] = _fit(features, images.labels)
    head = ["features", "head.weight", "head.bias"]
    nodes += [
        helper.make_node("Gemm", head, ["logits"], name="head"),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    model = _model(nodes, weights, OUTPUT, 10, opset)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def _convolution(
    name: str, taken: str, kernel: Array, weights: dict[str, Array], stride: int = 2
) -> list[NodeProto]:
    side = kernel.shape[-1]
    weights[f"{name}.weight"] = kernel
    weights[f"{name}.bias"] = np.zeros(len(kernel), np.float32)
    inputs = [taken, f"{name}.weight", f"{name}.bias"]
    pads, strides = [side // 2] * 4, [stride, stride]
    return [
        helper.make_node("Conv", inputs, [name], name=name, pads=pads, strides=strides),
        helper.make_node("Relu", [name], [f"{name}_relu"]),
    ]


def _random(seed: int, channels: int, side: int) -> Array:
    shape = (CHANNELS, channels, side, side)
    values = np.random.default_rng(seed).normal(0, (channels * side * side) ** -0.5, shape)
    return values.astype(np.float32)


def _fit(features: Array, labels: NDArray[np.intp]) -> tuple[Array, Array]:
    """Return weight and bias of a ridge regression on the classes."""
    centre = features.mean(axis=0)
    centred = (features - centre).astype(np.float64)
    wanted = np.eye(10)[labels] - 0.1
    ridge = centred.T @ centred + np.eye(centred.shape[1]) * 0.01 * len(centred)
    weight = SHARPNESS * np.linalg.solve(ridge, centred.T @ wanted)
    return weight.astype(np.float32), (-centre @ weight).astype(np.float32)


def _run(model: onnx.ModelProto, images: ImageSet) -> Array:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.concatenate([session.run(None, {INPUT: p})[0] for p in images.batches(64)])


def _model(
    nodes: list[NodeProto], weights: dict[str, Array], output: str, size: int, opset: int = 17
) -> onnx.ModelProto:
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", 28, 28, 3])
    answer = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", None])
    if output == OUTPUT:
        answer = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", size])
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "fashion", [images], [answer], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
