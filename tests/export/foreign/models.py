"""Small image classifiers as other tools write them, built with the onnx package."""

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

SIDE, CLASSES = 16, 4
CHANCE = np.random.default_rng(6)
KERNEL = CHANCE.normal(size=(8, 3, 3, 3)) * 0.3
DENSE = CHANCE.normal(size=(8, CLASSES)) * 0.7
Shape = list[int | str]


def network(source: str, batch: int | str) -> list[NodeProto]:
    """Convolution, mean, reshape to the batch as it was traced, matrix product: NCHW -> logits."""
    shape = [batch if isinstance(batch, int) else -1, 8]
    constant = numpy_helper.from_array(np.array(shape, np.int64))
    return [
        helper.make_node("Conv", [source, "kernel"], ["conv"], strides=[2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Constant", [], ["shape"], value=constant),
        helper.make_node("Reshape", ["pool", "shape"], ["vector"]),
        helper.make_node("MatMul", ["vector", "dense"], ["logits"]),
    ]


def model(
    nodes: list[NodeProto],
    taken: tuple[int, Shape],
    given: tuple[str, int, Shape],
    dtype: type[np.generic] = np.float32,
) -> ModelProto:
    """Return a model from `images` of (type, shape) to (name, type, shape)."""
    weights = {"kernel": KERNEL, "dense": DENSE}
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("images", *taken)],
        [helper.make_tensor_value_info(*given)],
        [numpy_helper.from_array(value.astype(dtype), name) for name, value in weights.items()],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(built, full_check=True)
    return built


def fixed_batch() -> ModelProto:
    """NCHW float32, traced with one image."""
    nodes = network("images", 1)
    shape: Shape = [1, 3, SIDE, SIDE]
    return model(nodes, (TensorProto.FLOAT, shape), ("logits", TensorProto.FLOAT, [1, CLASSES]))


def channels_last_with_softmax() -> ModelProto:
    """NHWC float32, any batch; its input and output are named like those of the bundle."""
    nodes = [
        helper.make_node("Transpose", ["images"], ["nchw"], perm=[0, 3, 1, 2]),
        *network("nchw", "n"),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    given = ("probabilities", TensorProto.FLOAT, ["n", CLASSES])
    return model(nodes, (TensorProto.FLOAT, ["n", SIDE, SIDE, 3]), given)


def bytes_in() -> ModelProto:
    """NHWC uint8, any batch; it normalises by itself."""
    middle, scale = (numpy_helper.from_array(np.array(v, np.float32)) for v in (128, 1 / 64))
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["middle"], value=middle),
        helper.make_node("Constant", [], ["scale"], value=scale),
        helper.make_node("Sub", ["float", "middle"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["nchw"], perm=[0, 3, 1, 2]),
        *network("nchw", "n"),
    ]
    given = ("logits", TensorProto.FLOAT, ["n", CLASSES])
    return model(nodes, (TensorProto.UINT8, ["n", SIDE, SIDE, 3]), given)


def half_precision() -> ModelProto:
    """NCHW float16 with height and width left open; answers of four axes."""
    nodes = [
        *network("images", "n")[:3],
        helper.make_node("Transpose", ["pool"], ["channels_last"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["channels_last", "dense"], ["logits"]),
    ]
    given = ("logits", TensorProto.FLOAT16, ["n", 1, 1, CLASSES])
    return model(nodes, (TensorProto.FLOAT16, ["n", 3, "h", "w"]), given, np.float16)


def stuck_batch() -> ModelProto:
    """NCHW float32 with an offset per image of its batch of two, so that no other size runs."""
    offset = numpy_helper.from_array(np.zeros((2, CLASSES), np.float32))
    nodes = [
        *network("images", 2)[:-1],
        helper.make_node("MatMul", ["vector", "dense"], ["plain"]),
        helper.make_node("Constant", [], ["offset"], value=offset),
        helper.make_node("Add", ["plain", "offset"], ["logits"]),
    ]
    given = ("logits", TensorProto.FLOAT, [2, CLASSES])
    return model(nodes, (TensorProto.FLOAT, [2, 3, SIDE, SIDE]), given)


def half_dynamic() -> ModelProto:
    """NCHW float32 that states any batch, and keeps inside the one that it was traced with."""
    shape: Shape = ["n", 3, SIDE, SIDE]
    given = ("logits", TensorProto.FLOAT, ["n", CLASSES])
    return model(network("images", 1), (TensorProto.FLOAT, shape), given)


def mixed_batch() -> ModelProto:
    """NCHW float32, any batch, for all of which there is one answer."""
    nodes = [
        *network("images", "n"),
        helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[0]),
    ]
    shape: Shape = ["n", 3, SIDE, SIDE]
    return model(nodes, (TensorProto.FLOAT, shape), ("mean", TensorProto.FLOAT, [1, CLASSES]))


def batch_statistics(batch: int | str) -> ModelProto:
    """NCHW float32 with logits relative to the mean of their batch, as of one in training mode."""
    nodes = [
        *network("images", batch)[:-1],
        helper.make_node("MatMul", ["vector", "dense"], ["plain"]),
        helper.make_node("ReduceMean", ["plain"], ["mean"], axes=[0]),
        helper.make_node("Sub", ["plain", "mean"], ["logits"]),
    ]
    given = ("logits", TensorProto.FLOAT, [batch, CLASSES])
    return model(nodes, (TensorProto.FLOAT, [batch, 3, SIDE, SIDE]), given)


def no_number_when_dark(threshold: float = -1.8) -> ModelProto:
    """NCHW float32, any batch; NaN where the mean of an image is below the threshold."""
    limit = numpy_helper.from_array(np.array([[threshold]], np.float32))
    nodes = [
        *network("images", "n")[:-1],
        helper.make_node("MatMul", ["vector", "dense"], ["plain"]),
        helper.make_node("ReduceMean", ["images"], ["brightness"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Constant", [], ["limit"], value=limit),
        helper.make_node("Constant", [], ["axis"], value=numpy_helper.from_array(np.array([1]))),
        helper.make_node("Unsqueeze", ["brightness", "axis"], ["column"]),
        helper.make_node("Sub", ["column", "limit"], ["above"]),
        helper.make_node("Sqrt", ["above"], ["root"]),
        helper.make_node("Add", ["plain", "root"], ["logits"]),
    ]
    shape: Shape = ["n", 3, SIDE, SIDE]
    return model(nodes, (TensorProto.FLOAT, shape), ("logits", TensorProto.FLOAT, ["n", CLASSES]))


def activated(activation: str | None, columns: int) -> ModelProto:
    """NCHW float32, any batch; the first columns of the logits, or an activation of them."""
    ends = [numpy_helper.from_array(np.array([value])) for value in (0, columns, 1)]
    names = ["from", "to", "axis"]
    nodes = [
        *network("images", "n"),
        *(helper.make_node("Constant", [], [n], value=v) for n, v in zip(names, ends, strict=True)),
        helper.make_node("Slice", ["logits", *names], ["columns"]),
        helper.make_node(activation or "Identity", ["columns"], ["answers"]),
    ]
    shape: Shape = ["n", 3, SIDE, SIDE]
    return model(nodes, (TensorProto.FLOAT, shape), ("answers", TensorProto.FLOAT, ["n", columns]))


def old_opset() -> ModelProto:
    """NCHW float32, opset 6."""
    built = fixed_batch()
    built.opset_import[0].version = 6
    return built


def save_with_external_data(built: ModelProto, path: Path) -> None:
    """Write the weights into a file beside the model."""
    onnx.save(built, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
