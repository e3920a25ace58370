"""Real images, few of them, and networks that classify them."""

import struct
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from export.evaluation_set import EvaluationSet, HeldImages, open_images
from images.transform import Size, Stretch, Transform
from serving.backends.devices import Device
from serving.backends.hardware import missing
from tests.export.precision.networks import write_network
from tests.support.paths import FASHION_MNIST
from training.data.dataset import Split
from training.data.datasets import open_dataset
from training.data.idx import FASHION_MNIST_CLASSES, IDX_PREFIX

# What a CPU without bf16 must say instead is tested everywhere, in test_bf16_refused.py.
collect_ignore = ["test_bf16.py"] if missing("openvino", Device("cpu"), precision="bf16") else []

TRANSFORM = Transform(resize=Stretch(height=28, width=28), crop=Size(height=28, width=28))
FITTED = 500


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first images of Fashion-MNIST: 600 to train on, 300 to test with."""
    return write_part(tmp_path_factory.mktemp("images"), train=range(600), test=range(300))


@pytest.fixture(scope="session")
def evaluation(images: Path) -> EvaluationSet:
    """The 300 test images."""
    return open_images(images, list(FASHION_MNIST_CLASSES), TRANSFORM)


@pytest.fixture(scope="session")
def fitting(images: Path) -> HeldImages:
    """The training images that the last layer is fitted to."""
    dataset = open_dataset(images, "train")
    pixels = [TRANSFORM.decode(dataset.encoded(index)) for index in range(FITTED)]
    labels = np.array([dataset.label(index) for index in range(FITTED)])
    return HeldImages("fitting", np.stack(pixels), labels)


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory, fitting: HeldImages) -> Path:
    """A network that int8 does no harm."""
    return write_network(tmp_path_factory.mktemp("network") / "fp32.onnx", fitting)


def write_part(root: Path, **parts: range) -> Path:
    """Write some images of Fashion-MNIST, by split; return the folder."""
    folder = root / "fashion-mnist"
    folder.mkdir(parents=True)
    for split, part in parts.items():
        dataset = open_dataset(FASHION_MNIST, cast("Split", split))
        pixels = np.stack([dataset.rgb(index)[:, :, 0] for index in part])
        labels = np.array([dataset.label(index) for index in part], np.uint8)
        prefix = IDX_PREFIX[cast("Split", split)]
        _write_idx(folder / f"{prefix}-images-idx3-ubyte", pixels)
        _write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
    return folder


def _write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.tobytes())
