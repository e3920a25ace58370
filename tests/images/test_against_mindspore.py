"""Upstream checkpoints were evaluated with MindSpore's transform: without antialias ours is it."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

import training  # noqa: F401  # sets what mindspore must find in the environment
from benchmarks.photos import jpeg, photo
from images.transform import Size, Stretch, Transform

IMAGES = Path(__file__).parent / "images"
# 512 x 600, from a camera; matplotlib ships it.
PHOTO = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
UPSTREAM = Transform(
    resize=Stretch(height=256, width=256), crop=Size(height=224, width=224), antialias=False
)
# MindSpore decodes no WebP here, and ignores the EXIF orientation.
NAMES = sorted({p.name for p in IMAGES.iterdir() if p.suffix != ".webp"} - {"turned.jpg"})


def mindspore_pixels(data: bytes) -> np.ndarray:
    from mindspore.dataset import vision

    image = vision.Decode()(np.frombuffer(data, np.uint8))
    return np.asarray(vision.CenterCrop(224)(vision.Resize((256, 256))(image)))


@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_equal(name: str) -> None:
    data = (IMAGES / name).read_bytes()
    np.testing.assert_array_equal(UPSTREAM.decode(data), mindspore_pixels(data))


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("quality", [50, 75, 90, 98])
@pytest.mark.parametrize(
    ("width", "height"), [(500, 375), (375, 500), (1201, 803), (256, 256), (97, 61)]
)
def test_pixels_of_photos_are_equal(
    width: int, height: int, quality: int, subsampling: str
) -> None:
    data = jpeg(photo(quality, width, height), quality, subsampling)
    np.testing.assert_array_equal(UPSTREAM.decode(data), mindspore_pixels(data))


def test_pixels_of_a_real_photo_are_equal() -> None:
    data = PHOTO.read_bytes()
    np.testing.assert_array_equal(UPSTREAM.decode(data), mindspore_pixels(data))


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize("quality", [50, 90])
@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (2048, 2400)])
def test_pixels_of_a_real_photo_saved_again_are_equal(
    width: int, height: int, quality: int, subsampling: str
) -> None:
    data = jpeg(np.asarray(Image.open(PHOTO).resize((width, height))), quality, subsampling)
    np.testing.assert_array_equal(UPSTREAM.decode(data), mindspore_pixels(data))
