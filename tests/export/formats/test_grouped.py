"""Merged groups: the same answers from fewer, wider groups, and nothing merged that must not be."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from export.formats.grouped import merge_groups
from serving.backends.ort.library import onnxruntime

WIDTH = 64
CHANCE = np.random.default_rng(4)
IMAGES = CHANCE.normal(size=(2, WIDTH, 9, 9)).astype(np.float32)


def model(channels: int, outputs: int = WIDTH, width: int = WIDTH, users: int = 1) -> ModelProto:
    """Return a model of grouped convolutions with `channels` per group and the same weights."""
    kernels = CHANCE.normal(size=(outputs, channels, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], [f"y{n}"], group=width // channels, strides=[2, 2])
        for n in range(users)
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width, 9, 9])],
        [helper.make_tensor_value_info("y0", TensorProto.FLOAT, ["n", outputs, 4, 4])],
        [numpy_helper.from_array(kernels, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(built: ModelProto) -> np.ndarray:
    [answers] = onnxruntime.InferenceSession(built.SerializeToString()).run(["y0"], {"x": IMAGES})
    return np.asarray(answers)


def form(built: ModelProto) -> tuple[int, list[int]]:
    return built.graph.node[0].attribute[0].i, list(built.graph.initializer[0].dims)


@pytest.mark.parametrize("channels", [2, 4, 8])
def test_small_groups_become_groups_of_16(channels: int) -> None:
    built = model(channels)
    before = run(built)
    merge_groups(built.graph)
    onnx.checker.check_model(built, full_check=True)
    assert form(built) == (4, [WIDTH, 16, 3, 3])
    np.testing.assert_allclose(run(built), before, atol=1e-5)


@pytest.mark.parametrize(
    "built",
    [
        model(1),  # depthwise
        model(16),
        model(WIDTH),  # no groups at all
        model(12, outputs=48, width=48),
        model(4, outputs=2 * WIDTH),
        model(4, outputs=24, width=24),  # six groups of four do not make groups of 16
        model(4, users=2),
    ],
)
def test_others_stay(built: ModelProto) -> None:
    before = built.SerializeToString()
    merge_groups(built.graph)
    assert built.SerializeToString() == before


def test_weights_that_a_body_uses_too_stay() -> None:
    built = model(4)
    [node] = model(4).graph.node
    body = helper.make_graph([node], "then", [], [helper.make_tensor_value_info("y0", 1, None)])
    branches = {"then_branch": body, "else_branch": body}
    built.graph.node.append(helper.make_node("If", ["yes"], ["z"], **branches))
    merge_groups(built.graph)
    assert form(built) == (16, [WIDTH, 4, 3, 3])
