"""ResNeXt152 whole: exported once, and the same answers from ONNX Runtime as from MindSpore."""

from pathlib import Path

import numpy as np
import onnxruntime

from export.contract.transform import Size
from export.formats.onnx_file import write
from export.graph import Deployment, predictor
from tests.export.images import varied
from tests.support.checkpoints import NORMALIZATION, stirred


def test_probabilities_equal_those_of_mindspore(tmp_path: Path) -> None:
    network = stirred("resnext152_64x4d", 1000)
    deployment = Deployment(network, NORMALIZATION, Size(height=224, width=224))
    images = varied(3, 224)
    expected = predictor(deployment.graph(), 3)(images)
    # The comparison below means something only where answers are far apart and far from even.
    assert expected.max(axis=1).min() > 0.01
    distances = np.abs(expected[:, None] - expected[None]).max(axis=2)
    assert distances[~np.eye(3, dtype=bool)].min() > 1e-3

    write(deployment, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    [actual] = session.run(["probabilities"], {"images": images})
    np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=0)
