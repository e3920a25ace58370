"""Weights inside the ONNX file if they fit, else beside it; metadata appended; opsets lifted."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from export.formats import onnx_model
from export.formats.onnx_model import (
    append_metadata,
    data_path,
    lift,
    opset,
    save,
    weight_bytes,
    without_weights,
)
from serving.backends.ort.library import onnxruntime
from tests.support.bundles import write_bundle

WEIGHT = np.random.default_rng(1).normal(size=(3, 500)).astype(np.float32)
OFFSET = np.zeros(500, np.int64)
SLOPE = np.array([0.5, -2.0, 1.0], np.float32)


def model() -> ModelProto:
    """x (n, 3) -> y (n, 500)."""
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"]),
        helper.make_node("Cast", ["offset"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["product", "float"], ["y"]),
    ]
    weights = [numpy_helper.from_array(WEIGHT, "weight"), numpy_helper.from_array(OFFSET, "offset")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 500])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answer(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    return np.asarray(session.run(None, {"x": np.eye(3, dtype=np.float32)})[0])


def test_weights_are_counted_in_bytes() -> None:
    assert weight_bytes(model()) == 3 * 500 * 4 + 500 * 8


def test_weights_that_fit_are_inside(tmp_path: Path) -> None:
    save(model(), tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    np.testing.assert_array_equal(answer(tmp_path / "m.onnx"), WEIGHT)


def test_weights_that_do_not_fit_lie_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_model, "LARGEST_WEIGHTS", weight_bytes(model()) - 1)
    path = tmp_path / "m.onnx"
    for _ in range(2):  # ONNX itself would append to a file that is there
        save(model(), path)
        assert data_path(path).stat().st_size == weight_bytes(model())
        assert path.stat().st_size < 1000
        onnx.checker.check_model(path, full_check=True)
        np.testing.assert_array_equal(answer(path), WEIGHT)
    monkeypatch.undo()
    save(model(), path)
    assert not data_path(path).exists()


def test_without_weights_all_else_is_there() -> None:
    bare = without_weights(model())
    assert [value.name for value in bare.graph.input] == ["x", "weight", "offset"]
    assert not bare.graph.initializer
    del bare.graph.input[1:]
    bare.graph.initializer.extend(model().graph.initializer)
    assert bare == model()


def test_appended_entries_are_read_and_nothing_else_changes(tmp_path: Path) -> None:
    path = write_bundle(tmp_path) / "model.onnx"
    before = onnx.load(path)
    append_metadata(path, {"maker": "me", "kind": "test"})
    after = onnx.load(path)
    onnx.checker.check_model(after, full_check=True)
    assert after.graph == before.graph
    found = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert found == {entry.key: entry.value for entry in before.metadata_props} | {
        "maker": "me",
        "kind": "test",
    }


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
