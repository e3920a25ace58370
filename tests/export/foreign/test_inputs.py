"""What goes in front of a foreign model, in ONNX Runtime, against the same in numpy."""

import numpy as np
import pytest
from onnx import helper

from bundle.manifest import Normalization
from export.foreign.inputs import IDENTITY, Prelude, prepared
from export.foreign.names import PREFIX
from export.foreign.signature import Channels, Layout, Signature
from export.original import INPUT
from images.transform import Size
from serving.backends.ort.library import onnxruntime
from tests.export.images import varied

SIDE = 16
COLOURED = Normalization(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))
GREY = Normalization(mean=(110.3,) * 3, std=(60.7,) * 3)
LAYOUTS: tuple[Layout, ...] = ("NCHW", "NHWC")
CHANNELS: tuple[Channels, ...] = ("rgb", "bgr", "grey")
DTYPES = (np.float32, np.float16, np.uint8)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_graph_prepares_images_bit_by_bit_as_numpy(
    layout: Layout, channels: Channels, dtype: type[np.generic]
) -> None:
    signature = Signature(
        input="pixels",
        output="logits",
        dtype=np.dtype(dtype),
        layout=layout,
        size=Size(height=SIDE, width=SIDE),
        batch=None,
        precision="fp32",
        channels=channels,
    )
    colours = GREY if channels == "grey" else COLOURED
    normalization = IDENTITY if dtype == np.uint8 else colours
    prelude = Prelude(signature, normalization, opset=17)
    kinds = [node.op_type for node in prelude.nodes]
    assert kinds.count("Transpose") == (layout == "NCHW")
    assert layout == "NHWC" or kinds[0] == "Transpose", "floats would be transposed"
    pixels = varied(4, SIDE)
    graph = helper.make_graph(
        prelude.nodes,
        "prelude",
        [helper.make_tensor_value_info(INPUT, 2, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(
            PREFIX + "pixels", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None
        )],
        prelude.constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    [given] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {INPUT: pixels})
    expected = np.ascontiguousarray(prepared(pixels, signature, normalization))
    assert given.dtype == dtype
    np.testing.assert_array_equal(given, expected)
