"""Networks of torchvision and timm with random weights: the same logits here and behind a server.

Their own code answers in PyTorch's environment. The last layer of a bundle is a softmax, which
keeps of the logits all but their mean.
"""

import io
import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from mindspore import Tensor
from numpy.typing import NDArray
from PIL import Image

from bundle.store import Bundle
from clients.client import ClassifierClient
from clients.types import Prediction
from export.parity import open_runner
from tests.support.process import run, serve
from tests.support.torch import torch_python
from training.checkpoint.networks import open_trained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SIDE = 64
PROGRAM = """
import sys
import numpy, torch
# PyPI's torchvision is built for CUDA. Beside a PyTorch for CPUs its operators are not loaded, and
# classification needs none; but it asks for these as it is imported.
for name in ("torchvision::nms", "torchvision::qnms"):
    torch.library.define(name, "(Tensor boxes, Tensor scores, float limit) -> Tensor")
import timm, torchvision
from safetensors.torch import save_file

def stirred(network):
    torch.manual_seed(1)
    for name, part in network.named_modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(part.running_mean, std=0.2)
            torch.nn.init.uniform_(part.running_var, 0.5, 1.5)
            torch.nn.init.normal_(part.bias, std=0.2)
            torch.nn.init.uniform_(part.weight, *((0.1, 0.4) if "bn3" in name else (0.6, 1.4)))
    torch.nn.init.normal_(network.fc.weight, std=0.1)
    return network.eval()

def answer(network, name):
    with torch.no_grad():
        numpy.save(f"{folder}/{name}.npy", network(images).numpy())

folder = sys.argv[1]
pixels = torch.from_numpy(numpy.load(f"{folder}/pixels.npy")).permute(0, 3, 1, 2).float() / 255
mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
images = (pixels - mean) / std
network = stirred(torchvision.models.resnext50_32x4d(num_classes=12))
answer(network, "torchvision")
torch.save(network.state_dict(), f"{folder}/torchvision.pth")
network = stirred(timm.create_model("resnext50_32x4d", num_classes=12))
answer(network, "timm")
save_file(network.state_dict(), f"{folder}/timm.safetensors")
"""


class Brought(NamedTuple):
    """A folder with checkpoints, images uint8 (n, side, side, 3), and how they are prepared."""

    folder: Path
    pixels: NDArray[np.uint8]
    transform: Path

    def logits(self, library: str) -> NDArray[np.float32]:
        """Return what PyTorch answers, float32 (n, classes)."""
        found: NDArray[np.float32] = np.load(self.folder / f"{library}.npy")
        assert np.ptp(found, axis=1).min() > 2, "even answers would prove nothing"
        assert np.ptp(found, axis=0).max() > 0.1, "equal answers would prove nothing"
        return found


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Brought:
    folder = tmp_path_factory.mktemp("brought")
    size = {"height": SIDE, "width": SIDE}
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]) * 255
    content = {
        "transform": {"resize": {"kind": "stretch", **size}, "crop": size},
        "normalization": {"mean": mean.tolist(), "std": std.tolist()},
    }
    (transform := folder / "transform.json").write_text(json.dumps(content))
    chance = np.random.default_rng(1)
    coarse = chance.integers(0, 256, (4, 8, 8, 3), np.uint8)
    pixels = coarse.repeat(8, axis=1).repeat(8, axis=2)
    np.save(folder / "pixels.npy", pixels)
    subprocess.run([torch_python(), "-W", "ignore", "-c", PROGRAM, str(folder)], check=True)
    return Brought(folder, pixels, transform)


FILES = [("torchvision", "torchvision.pth"), ("timm", "timm.safetensors")]


@pytest.mark.parametrize(("library", "file"), FILES)
def test_the_logits_are_pytorchs_here_in_onnx_and_through_the_server(
    library: str, file: str, brought: Brought
) -> None:
    expected = brought.logits(library)
    checkpoint = brought.folder / file
    trained = open_trained(checkpoint, None, str(brought.transform))
    assert (trained.architecture, trained.net.pooling) == ("resnext50_32x4d", "symmetric")
    normal = (brought.pixels - np.array(trained.normalization.mean)) / trained.normalization.std
    images = Tensor(normal.transpose(0, 3, 1, 2).astype(np.float32))
    np.testing.assert_allclose(trained.net(images).asnumpy(), expected, atol=1e-4, rtol=0)
    bundle = exported(brought, checkpoint, library)
    runner = open_runner(bundle.path, bundle.manifest, bundle.manifest.files[0], "cpu")
    same(runner.predict(brought.pixels), expected)
    same(served(bundle, brought.pixels), expected)


def exported(brought: Brought, checkpoint: Path, name: str) -> Bundle:
    arguments = ("--ckpt-file", checkpoint, "--transform", brought.transform, "--name", name)
    run("export", *arguments, "--output", brought.folder, "--batch-size", "4")
    bundle = Bundle.open(brought.folder / name / "1")
    assert bundle.manifest.architecture == "resnext50_32x4d"
    assert bundle.manifest.transform.resize.kind == "stretch"
    return bundle


def served(bundle: Bundle, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return a server's probabilities for PNG files of these pixels."""
    files = []
    for image in pixels:
        Image.fromarray(image).save(file := io.BytesIO(), "PNG")
        files.append(file.getvalue())
    with serve(bundle.path) as server, ClassifierClient(server.grpc) as client:
        results = client.classify(files, full_probabilities=True, timeout_s=300)
    return np.array([r.probabilities for r in results if isinstance(r, Prediction)])


def same(probabilities: NDArray[np.floating], logits: NDArray[np.float32]) -> None:
    found = np.log(probabilities.astype(np.float64))
    centred = [values - values.mean(axis=1, keepdims=True) for values in (found, logits)]
    np.testing.assert_allclose(*centred, atol=1e-4, rtol=0)
