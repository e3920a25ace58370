"""Upstream checkpoints were evaluated with MindSpore's transform: without antialias ours is it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import training  # noqa: F401  # sets what mindspore must find in the environment
from export.contract.transform import Size, Stretch, Transform

IMAGES = Path(__file__).parent / "images"
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


def test_pixels_of_a_large_photo_are_equal(tmp_path: Path) -> None:
    noise = Image.effect_noise((500, 375), 90).convert("RGB")
    photo = Image.blend(noise, Image.linear_gradient("L").resize((500, 375)).convert("RGB"), 0.7)
    photo.save(tmp_path / "photo.jpg", quality=90)
    data = (tmp_path / "photo.jpg").read_bytes()
    np.testing.assert_array_equal(UPSTREAM.decode(data), mindspore_pixels(data))
