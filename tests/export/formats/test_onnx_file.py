"""The ONNX file: MindSpore's answers, any batch size, no warning, the same bytes each time."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from export.formats.onnx_file import write
from export.graph import Deployment, predictor
from images.transform import Pixels
from serving.backends.ort.library import onnxruntime
from tests.export.runtime import has_nothing_to_say


@pytest.fixture(scope="module")
def path(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write(deployment, file)
    return file


def test_answers_as_mindspore_does(deployment: Deployment, path: Path, pixels: Pixels) -> None:
    session = onnxruntime.InferenceSession(path)
    expected = predictor(deployment.graph(), 5)(pixels)
    for batch in (1, 2, 5):
        [actual] = session.run(["probabilities"], {"images": pixels[:batch]})
        np.testing.assert_allclose(actual, expected[:batch], atol=1e-6)


def test_a_mirrored_network_answers_the_same_for_mirror_images(
    mirrored: Deployment, pixels: Pixels, tmp_path: Path
) -> None:
    file = tmp_path / "model.onnx"
    write(mirrored, file)
    session = onnxruntime.InferenceSession(file)
    expected = predictor(mirrored.graph(), 5)(pixels)
    for batch in (1, 2, 5):
        for images in (pixels[:batch], np.ascontiguousarray(pixels[:batch, :, ::-1])):
            [actual] = session.run(["probabilities"], {"images": images})
            np.testing.assert_allclose(actual, expected[:batch], atol=1e-6)


def test_uint8_images_in_and_float32_probabilities_out(path: Path) -> None:
    session = onnxruntime.InferenceSession(path)
    [taken], [given] = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == (
        "images",
        "tensor(uint8)",
        ["batch", 28, 28, 3],
    )
    assert (given.name, given.type, given.shape) == (
        "probabilities",
        "tensor(float)",
        ["batch", 10],
    )


def test_batch_norm_is_gone_and_the_opset_is_new(path: Path) -> None:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds[:4] == ["Transpose", "Cast", "Sub", "Div"]
    assert kinds[-1] == "Softmax"
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]


def test_bytes_are_transposed_to_the_bits_that_transposed_floats_give(
    path: Path, pixels: Pixels
) -> None:
    """The same file, but with its first nodes in the order in which a bundle once had them."""
    model = onnx.load(path)
    transpose, cast, sub, div = model.graph.node[:4]
    cast.input[0], sub.input[0], div.input[0] = transpose.input[0], cast.output[0], sub.output[0]
    normal, div.output[0] = div.output[0], "channels_last"
    transpose.input[0], transpose.output[0] = "channels_last", normal
    reordered = [cast, sub, div, transpose, *model.graph.node[4:]]
    for tensor in model.graph.initializer:
        if tensor.name in (sub.input[1], div.input[1]):
            del tensor.dims[:]
            tensor.dims.append(3)
    graph = onnx.GraphProto(
        name="floats",
        node=reordered,
        input=model.graph.input,
        output=model.graph.output,
        initializer=model.graph.initializer,
    )
    floats = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)
    onnx.checker.check_model(floats, full_check=True)
    given = [
        onnxruntime.InferenceSession(content).run(None, {"images": pixels})[0]
        for content in (path, floats.SerializeToString())
    ]
    np.testing.assert_array_equal(*given)


def test_nodes_are_named_as_in_the_checkpoint(path: Path) -> None:
    names = [node.name for node in onnx.load(path, load_external_data=False).graph.node]
    assert "backbone.layer1.0.conv2" in names
    assert "head.fc" in names
    assert len(set(names)) == len(names)


def test_onnx_runtime_has_nothing_to_say(path: Path) -> None:
    assert has_nothing_to_say(path)


def test_the_same_weights_give_the_same_bytes(
    deployment: Deployment, path: Path, tmp_path: Path
) -> None:
    write(deployment, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()
