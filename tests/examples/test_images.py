"""The sample images are what their names say."""

import gzip

import numpy as np
import pytest
from PIL import Image

from tests.support import paths
from tests.support.paths import FASHION_MNIST

SAMPLES = sorted(paths.SAMPLES.iterdir())
CLASSES = [
    "t_shirt_top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle_boot",
]  # fmt: skip


def test_there_is_one_of_each_class():
    assert {path.stem.rpartition("_")[0] for path in SAMPLES} == set(CLASSES)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_that_image_of_the_test_set(path):
    name, _, index = path.stem.rpartition("_")
    pixels = gzip.decompress((FASHION_MNIST / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((FASHION_MNIST / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    with Image.open(path) as image:
        size = 28 * 28
        assert np.asarray(image).tobytes() == pixels[int(index) * size :][:size]
    assert CLASSES[labels[int(index)]] == name
