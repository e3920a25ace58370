"""Smaller images: the pixels that the transform of serving makes, one for one."""

import io

import numpy as np
from PIL import Image

from images.transform import Size, Stretch, Transform
from training.data.resizing import resized


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_images_are_reduced_as_the_transform_reduces_them() -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 28, 30, 3), np.uint8)
    transform = Transform(
        resize=Stretch(height=14, width=21), crop=Size(height=14, width=21), antialias=True
    )
    found = resized(images, (14, 21))
    for image, small in zip(images, found, strict=True):
        np.testing.assert_array_equal(small, transform.decode(png(image)))


def test_images_of_the_size_stay_as_they_are() -> None:
    images = np.zeros((2, 8, 6, 3), np.uint8)
    assert resized(images, (8, 6)) is images
