"""fp16: half the bytes, nearly the same answers, and a tolerance for hardware that rounds."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.errors import PrecisionError
from export.evaluation_set import EvaluationSet
from export.precision.fp16 import write_fp16
from export.precision.int8 import answers
from export.precision.rounded import rounded_answers
from tests.export.runtime import has_nothing_to_say


@pytest.fixture(scope="module")
def halved(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fp16") / "fp16.onnx"
    write_fp16(network, path)
    return path


def test_answers_are_nearly_the_same(
    network: Path, halved: Path, evaluation: EvaluationSet
) -> None:
    fp32, fp16 = (answers(path, evaluation.batches(16), 16) for path in (network, halved))
    assert fp16.dtype == np.float32
    assert 0 < np.abs(fp32 - fp16).max() < 5e-3
    assert (fp32.argmax(axis=1) == fp16.argmax(axis=1)).mean() > 0.98


def test_rounding_every_value_costs_more_than_rounding_the_weights(
    network: Path, halved: Path, evaluation: EvaluationSet
) -> None:
    fp32, fp16 = (answers(path, evaluation.batches(16), 16) for path in (network, halved))
    rounded = rounded_answers(halved, evaluation.batches(16), 16)
    assert np.abs(fp16 - fp32).max() < np.abs(rounded - fp32).max() < 5e-3


def test_all_but_normalisation_and_softmax_is_half(halved: Path, network: Path) -> None:
    graph = onnx.load(halved).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds[:5] == ["Transpose", "Cast", "Sub", "Div", "Cast"]
    assert kinds[-3:] == ["Gemm", "Cast", "Softmax"]
    assert kinds.count("Cast") == 3
    floats = [t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT]
    assert floats == ["mean", "std"]
    assert halved.stat().st_size < 0.6 * network.stat().st_size


def test_any_batch_and_no_warning(halved: Path) -> None:
    onnx.checker.check_model(onnx.load(halved), full_check=True)
    assert has_nothing_to_say(halved)


def write_graph(path: Path, weights: dict[str, Any], nodes: list[NodeProto]) -> Path:
    """Write a graph from `pixels`, float32 (batch, 4, 4, 3), to `sum`, whose mean is its answer."""
    first = helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT)
    last = helper.make_node("ReduceMean", ["sum"], ["probabilities"], axes=[1, 2], keepdims=0)
    graph = helper.make_graph(
        [first, *nodes, last],
        "small",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 4, 4, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.array(v, np.float32), name) for name, v in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def test_a_softmax_inside_and_sizes_stay_float32(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Resize", ["pixels", "", "scales"], ["resized"], mode="nearest"),
        helper.make_node("Softmax", ["resized"], ["inside"], axis=-1),
        helper.make_node("Add", ["inside", "offset"], ["sum"]),
    ]
    weights = {"scales": [1.0, 2.0, 2.0, 1.0], "offset": [0.1, 0.2, 0.3]}
    before, after = write_graph(tmp_path / "a.onnx", weights, nodes), tmp_path / "b.onnx"
    write_fp16(before, after)
    pixels = [np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)]
    np.testing.assert_allclose(answers(after, pixels, 2), answers(before, pixels, 2), atol=1e-3)


def test_an_operator_without_float16_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["pixels", "scale"], ["added"]),
        helper.make_node("QuantizeLinear", ["added", "scale"], ["quantised"]),
        helper.make_node("Cast", ["quantised"], ["sum"], to=TensorProto.FLOAT),
    ]
    path = write_graph(tmp_path / "a.onnx", {"scale": 2.0}, nodes)
    with pytest.raises(PrecisionError, match=r"does not work in float16, .*QuantizeLinear"):
        write_fp16(path, tmp_path / "b.onnx")


def test_a_weight_beyond_float16_is_refused(network: Path, tmp_path: Path) -> None:
    model = onnx.load(network)
    [bias] = [tensor for tensor in model.graph.initializer if tensor.name == "stem.bias"]
    bias.CopyFrom(numpy_helper.from_array(np.full(24, 7e4, np.float32), bias.name))
    onnx.save(model, tmp_path / "large.onnx")
    with pytest.raises(PrecisionError, match=r"stem\.bias holds 7e\+04, and float16 ends at 65504"):
        write_fp16(tmp_path / "large.onnx", tmp_path / "fp16.onnx")


def test_every_value_is_rounded_as_it_is_made(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Relu", ["scaled"], ["positive"]),
        helper.make_node("Add", ["positive", "offset"], ["sum"]),
    ]
    weights = {"scale": [0.3, -0.1, 1 / 3], "offset": [1e3, 2e3, 0.1]}
    pixels = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)
    write_fp16(write_graph(tmp_path / "a.onnx", weights, nodes), tmp_path / "b.onnx")
    scale, offset = (np.array(weights[name], np.float16) for name in ("scale", "offset"))
    # NumPy's float16 is computed in float32 and rounded, operator by operator.
    summed = np.maximum(pixels.astype(np.float16) * scale, np.float16(0)) + offset
    expected = summed.astype(np.float32).mean(axis=(1, 2)).astype(np.float16)
    np.testing.assert_array_equal(rounded_answers(tmp_path / "b.onnx", [pixels], 2), expected)
    assert (answers(tmp_path / "b.onnx", [pixels], 2) != expected).any()


def test_what_leaves_the_range_of_float16_shows_when_it_is_rounded(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["pixels", "scale"], ["large"]),
        helper.make_node("Div", ["large", "scale"], ["sum"]),
    ]
    write_fp16(write_graph(tmp_path / "a.onnx", {"scale": 6e4}, nodes), tmp_path / "b.onnx")
    pixels = [np.full((2, 4, 4, 3), 2, np.uint8)]
    np.testing.assert_allclose(answers(tmp_path / "b.onnx", pixels, 2), 2)
    assert not np.isfinite(rounded_answers(tmp_path / "b.onnx", pixels, 2)).any()
