"""The max-pool of PyTorch's networks: it pads by itself, and answers as in MindSpore."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from export.formats import mindir, onnx_file
from export.graph import Deployment, predictor
from images.transform import Pixels, Size
from serving.backends.ort.library import onnxruntime
from tests.support.checkpoints import NORMALIZATION, POOLED, stirred
from training.architectures import ARCHITECTURES


@pytest.fixture(scope="module")
def pooled() -> Deployment:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "pooled", POOLED)
        network = stirred("pooled", 10, "symmetric")
    return Deployment(network, NORMALIZATION, Size(height=28, width=28))


@pytest.fixture(scope="module")
def expected(pooled: Deployment, pixels: Pixels) -> np.ndarray:
    return predictor(pooled.graph(), 5)(pixels)


def test_the_pool_of_the_onnx_file_pads_by_itself(
    pooled: Deployment, pixels: Pixels, expected: np.ndarray, tmp_path: Path
) -> None:
    onnx_file.write(pooled, path := tmp_path / "model.onnx")
    nodes = onnx.load(path).graph.node
    assert {node.op_type for node in nodes} & {"Pad", "Constant"} == set()
    [pool] = [node for node in nodes if node.op_type == "MaxPool"]
    assert next(list(a.ints) for a in pool.attribute if a.name == "pads") == [1, 1, 1, 1]
    [actual] = onnxruntime.InferenceSession(path).run(None, {"images": pixels})
    assert np.ptp(expected, axis=0).max() > 0.05
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_mindir_answers_the_same(
    pooled: Deployment, pixels: Pixels, expected: np.ndarray, tmp_path: Path
) -> None:
    mindir.write(pooled, path := tmp_path / "model.mindir")
    np.testing.assert_allclose(mindir.runner(path, 5)(pixels), expected, atol=1e-6)
