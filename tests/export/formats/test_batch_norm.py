"""Folding batch norm: the same answers from fewer nodes, and nothing folded that must not be."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.formats.onnx_file import fold_batch_norm
from serving.backends.ort.library import onnxruntime

CHANCE = np.random.default_rng(4)
WEIGHTS = {
    "c.weight": CHANCE.normal(size=(6, 2, 3, 3)),
    "c.offset": CHANCE.normal(size=6),
    "gamma": CHANCE.uniform(0.5, 2, 6),
    "beta": CHANCE.normal(size=6),
    "mean": CHANCE.normal(size=6),
    "variance": CHANCE.uniform(0.1, 3, 6),
}
NORM = ["gamma", "beta", "mean", "variance"]
IMAGES = CHANCE.normal(size=(2, 4, 8, 8)).astype(np.float32)


def model(*nodes: NodeProto) -> ModelProto:
    """Return a model from x (2, 4, 8, 8) to y with all the weights."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 6, 8, 8])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in WEIGHTS.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv(*inputs: str) -> NodeProto:
    return helper.make_node("Conv", ["x", *inputs], ["c"], group=2, pads=[1, 1, 1, 1])


def norm(source: str, **attributes: float) -> NodeProto:
    return helper.make_node("BatchNormalization", [source, *NORM], ["y"], **attributes)


def run(built: ModelProto) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(built.SerializeToString(), options)
    answer: NDArray[np.float32] = session.run(["y"], {"x": IMAGES})[0]
    return answer


def fold(built: ModelProto) -> None:
    """Fold, with the weights outside of the graph meanwhile."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in built.graph.initializer}
    fold_batch_norm(built.graph, weights)
    del built.graph.initializer[:]
    built.graph.initializer.extend(numpy_helper.from_array(w, name) for name, w in weights.items())


def assert_folds(*nodes: NodeProto) -> None:
    built = model(*nodes)
    before = run(built)
    fold(built)
    onnx.checker.check_model(built, full_check=True)
    assert [node.op_type for node in built.graph.node] == ["Conv"]
    assert {weight.name for weight in built.graph.initializer} == {"c.weight", "c.bias"}
    np.testing.assert_allclose(run(built), before, atol=1e-5)
    assert np.abs(before).max() > 1


def test_a_grouped_convolution_without_bias() -> None:
    assert_folds(conv("c.weight"), norm("c"))


def test_a_convolution_with_bias_and_another_epsilon() -> None:
    assert_folds(conv("c.weight", "c.offset"), norm("c", epsilon=0.1))


def test_a_convolution_that_is_used_elsewhere_stays() -> None:
    nodes = conv("c.weight"), norm("c"), helper.make_node("Relu", ["c"], ["z"])
    built = model(*nodes)
    fold(built)
    assert [node.op_type for node in built.graph.node] == [node.op_type for node in nodes]


def test_a_batch_norm_behind_something_else_stays() -> None:
    built = model(conv("c.weight"), helper.make_node("Relu", ["c"], ["r"]), norm("r"))
    before = run(built)
    fold(built)
    assert len(built.graph.node) == 3
    np.testing.assert_array_equal(run(built), before)
