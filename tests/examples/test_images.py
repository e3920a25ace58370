"""The sample images are what their names say."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

IDX = Path("/usr/share/datasets/fashion-mnist")
SAMPLES = sorted(Path("examples/images").iterdir())
CLASSES = [
    "t_shirt_top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle_boot",
]  # fmt: skip


def test_there_is_one_of_each_class():
    assert {path.stem.rpartition("_")[0] for path in SAMPLES} == set(CLASSES)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_that_image_of_the_test_set(path):
    name, _, index = path.stem.rpartition("_")
    pixels = gzip.decompress((IDX / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((IDX / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    with Image.open(path) as image:
        size = 28 * 28
        assert np.asarray(image).tobytes() == pixels[int(index) * size :][:size]
    assert CLASSES[labels[int(index)]] == name
