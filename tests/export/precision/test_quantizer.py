"""Which weights of an int8 file use how many bits."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.evaluation_set import HeldImages
from export.original import INPUT, OUTPUT
from export.precision.quantizer import Quantizer
from tests.export.images import varied

SIDE, CHANNELS = 16, 8


def write_network(path: Path) -> None:
    """Write a pointwise convolution, a depthwise one and a pointwise one."""
    chance = np.random.default_rng(2)
    shapes = {
        "first": (CHANNELS, 3, 1, 1),
        "depthwise": (CHANNELS, 1, 3, 3),
        "last": (CHANNELS, CHANNELS, 1, 1),
    }
    nodes = [
        helper.make_node("Transpose", [INPUT], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["t"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["cast", "first"], ["a"], name="a"),
        helper.make_node("Conv", ["a", "depthwise"], ["b"], name="b", group=CHANNELS),
        helper.make_node("Conv", ["b", "last"], ["c"], name="c"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], [OUTPUT]),
    ]
    graph = helper.make_graph(
        nodes,
        "depthwise",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", CHANNELS])],
        [
            numpy_helper.from_array(chance.normal(size=shape).astype(np.float32), name)
            for name, shape in shapes.items()
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def test_only_depthwise_weights_use_all_bits(tmp_path: Path) -> None:
    source, target = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    write_network(source)
    images = HeldImages("calibration", varied(8, SIDE), np.zeros(8, np.int64))
    quantizer = Quantizer(source, tmp_path, images, 4)
    for kept in ([], ["b"]):
        quantizer.write(target, "minmax", kept=kept)
        weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(target).graph.initializer}
        largest = {
            name.removesuffix("_quantized"): np.abs(value.astype(int)).max()
            for name, value in weights.items()
            if value.dtype == np.int8 and value.ndim == 4
        }
        expected = {"first": 64, "depthwise": 127, "last": 64}
        assert largest == {k: v for k, v in expected.items() if k != "depthwise" or not kept}
