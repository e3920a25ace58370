"""Image files of the worst pixels to resize, in any format, mode and orientation."""

import io
from typing import Any

import numpy as np
from PIL import Image

from images.files.orientation import ORIENTATION_TAG
from images.picture import Pixels


def rough(seed: int, width: int, height: int) -> Pixels:
    """Return pixels that are black or white in each channel by themselves."""
    return np.random.default_rng(seed).integers(0, 2, (height, width, 3)).astype(np.uint8) * 255


def encoded(rgb: Pixels, kind: str = "JPEG", mode: str = "RGB", orientation: int = 1) -> bytes:
    """Return a file of these pixels; PNG, BMP and WebP lose nothing."""
    image, buffer = Image.fromarray(rgb), io.BytesIO()
    image = image.quantize(40) if mode == "P" else image.convert(mode)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    options: dict[str, Any] = {} if kind == "BMP" else {"exif": exif}
    image.save(buffer, kind, lossless=True, **options)
    return buffer.getvalue()
