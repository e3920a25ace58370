"""Weights inside the ONNX file where they fit, else in one file beside it."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from export.formats import storage
from export.formats.storage import data_path, save, weight_bytes, without_weights

WEIGHT = np.random.default_rng(1).normal(size=(3, 500)).astype(np.float32)
OFFSET = np.zeros(500, np.int64)


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
    monkeypatch.setattr(storage, "LARGEST_WEIGHTS", weight_bytes(model()) - 1)
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
