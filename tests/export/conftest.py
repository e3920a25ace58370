"""What most tests of the export share: a small deployment and images that differ."""

from pathlib import Path

import pytest
from PIL import Image

from export.checkpoint import from_checkpoint
from export.config import ExportConfig
from export.graph import Deployment
from export.pipeline import export_bundle
from images.transform import Pixels, Size
from tests.export.images import varied
from tests.support.checkpoints import NORMALIZATION, stirred, write_checkpoint

ANIMALS = ["ant", "bee", "cat"]


@pytest.fixture(scope="session")
def deployment() -> Deployment:
    """A tiny untrained network for ten classes of 28 x 28 images."""
    return Deployment(stirred("tiny", 10), NORMALIZATION, Size(height=28, width=28))


@pytest.fixture(scope="session")
def mirrored() -> Deployment:
    """The same network, which answers with the mean of an image and its mirror image."""
    network = stirred("tiny", 10, eval_mirror=True)
    return Deployment(network, NORMALIZATION, Size(height=28, width=28))


@pytest.fixture(scope="session")
def pixels() -> Pixels:
    """Five images that a network tells apart, uint8 (5, 28, 28, 3)."""
    return varied(5, 28)


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three classes, one folder each: 200 to train on, twelve to test with."""
    root = tmp_path_factory.mktemp("animals")
    for number, pixels in enumerate(varied(212, 40)):
        folder = root / ("test" if number < 12 else "train") / ANIMALS[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, animals: Path) -> Path:
    """A bundle that the real export made, in all precisions, evaluated on `animals`; read-only."""
    root = tmp_path_factory.mktemp("exported")
    config = ExportConfig.model_validate(
        {
            "ckpt_file": write_checkpoint(root / "best.ckpt", labels=ANIMALS),
            "file_format": ("ONNX", "MINDIR"),
            "precision": ("fp32", "fp16", "int8"),
            "max_accuracy_drop": 50,
            "images": animals,
            "output": root,
            "batch_size": 4,
        }
    )
    return export_bundle(from_checkpoint(config), config).bundle.path
