"""The 10,000 test images of Fashion-MNIST through tritonclient: exactly the manifest's count."""

import gzip
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from callers import MODEL, PIXELS, encoded, png

FOLDER = Path(os.environ.get("FASHION_MNIST", ""))
STATED = Path(__file__).parents[3] / "models/fashion_resnext/1/manifest.json"
BATCH = 100


def read(name, header):
    return np.frombuffer(gzip.decompress((FOLDER / name).read_bytes()), np.uint8, offset=header)


@pytest.fixture(scope="module")
def images():
    return read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)


def right_ones(caller, images, model, tensor):
    """Return how many images get their true class; four requests are in flight."""
    labels = read("t10k-labels-idx1-ubyte.gz", 8)

    def count(start):
        batch = slice(start, start + BATCH)
        found = caller.classify(tensor(images[batch]), model)
        return int((found.argmax(axis=1) == labels[batch]).sum())

    if caller.flavour != "grpc":  # one thread per client
        return sum(map(count, range(0, len(images), BATCH)))
    with ThreadPoolExecutor(4) as threads:
        return sum(threads.map(count, range(0, len(images), BATCH)))


def as_files(images):
    return encoded([png(image) for image in images])


def as_pixels(images):
    return np.repeat(images[..., None], 3, axis=-1)


@pytest.mark.parametrize(
    ("model", "tensor"), [(MODEL, as_files), (PIXELS, as_pixels)], ids=["files", "pixels"]
)
def test_grpc_gives_the_count_of_the_manifest(grpc_caller, images, model, tensor):
    stated = json.loads(STATED.read_text())["accuracy"]
    assert len(images) == stated["images"] == 10_000
    assert right_ones(grpc_caller, images, model, tensor) == stated["top1_correct"]


def test_http_gives_the_count_of_the_manifest(http_caller, images):
    stated = json.loads(STATED.read_text())["accuracy"]
    assert right_ones(http_caller, images, PIXELS, as_pixels) == stated["top1_correct"]
