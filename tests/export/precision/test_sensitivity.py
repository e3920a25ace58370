"""The noise of each layer alone, against what numpy says of a layer that is easy to work out."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from export.evaluation_set import EvaluationSet, HeldImages
from export.original import INPUT
from export.precision.quantizer import Quantizer
from export.precision.training_images import split
from serving.backends.ort.library import onnxruntime
from tests.export.precision.networks import write_network

BATCH = 20


@pytest.fixture(scope="module")
def quantizer(
    images: Path,
    evaluation: EvaluationSet,
    fitting: HeldImages,
    tmp_path_factory: pytest.TempPathFactory,
) -> Quantizer:
    scratch = tmp_path_factory.mktemp("sensitivity")
    source = write_network(scratch / "fp32.onnx", fitting, outliers=1)
    return Quantizer(source, scratch, split(images, evaluation)[0], BATCH)


def test_the_layer_that_does_not_survive_is_the_noisiest(quantizer: Quantizer) -> None:
    noise = quantizer.noise("minmax")
    assert list(noise) == ["stem", "body", "outlier0", "head"]
    assert noise["outlier0"] > 0.9
    # Nothing of what the outlier spoils behind it is laid at the door of the head.
    assert all(0 < noise[layer] < 0.01 for layer in ("stem", "body", "head"))


def test_noise_is_that_of_the_layer_alone(
    quantizer: Quantizer, images: Path, evaluation: EvaluationSet, tmp_path: Path
) -> None:
    kept = [layer for layer in quantizer.layers if layer != "stem"]
    quantizer.write(tmp_path / "stem.onnx", "minmax", kept=kept)
    batches = split(images, evaluation)[0].batches(BATCH)
    pixels = np.concatenate([next(batches) for _ in range(3)])
    plain, rounded = (stem(path, pixels) for path in (quantizer.model, tmp_path / "stem.onnx"))
    expected = np.square(plain - rounded).sum() / np.square(plain).sum()
    assert quantizer.noise("minmax")["stem"] == pytest.approx(expected, rel=1e-3)


def stem(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Return what the node gives, before a ReLU or what stands for one."""
    model = onnx.load(path)
    [name] = [node.output[0] for node in model.graph.node if node.name == "stem"]
    value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
    model.graph.output.append(value)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run([name], {INPUT: pixels})[0])
