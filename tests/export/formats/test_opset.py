"""Lifting keeps what a model computes, and operators that are not ONNX's own."""

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

from export.formats.opset import lift, opset

SLOPE = np.array([0.5, -2.0, 1.0], np.float32)


def old_model() -> ModelProto:
    """Opset 11, with an operator of ONNX Runtime and a softmax, whose meaning changed in 13."""
    nodes = [
        helper.make_node("Mul", ["x", "slope"], ["scaled"]),
        helper.make_node("Gelu", ["scaled"], ["bent"], domain="com.microsoft"),
        helper.make_node("Softmax", ["bent"], ["y"], axis=1),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3]) for n in "xy")
    graph = helper.make_graph(nodes, "old", [x], [y], [numpy_helper.from_array(SLOPE, "slope")])
    opsets = [helper.make_opsetid("", 11), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=6)


def run(model: ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    return np.asarray(session.run(None, {"x": x})[0])


def test_a_lifted_model_answers_as_before() -> None:
    before, lifted = run(old_model()), old_model()
    lift(lifted)
    assert opset(lifted) == 17
    assert [value.name for value in lifted.graph.input] == ["x"]
    np.testing.assert_array_equal(run(lifted), before)
