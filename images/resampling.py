"""How pixels are resampled with antialias: by Pillow, or by the Rust library fast_image_resize.

Both compute in fixed point, so that pixels do not depend on the processor. They round differently:
bilinear by 1, in a tenth to a quarter of the samples, and by 2 in fewer than one of 100,000, when
noise is enlarged. Bicubic, which overshoots, by up to 30.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from images.errors import ImageError
from images.picture import Pixels

Kernel = Literal["bilinear", "bicubic"]
Resampler = Literal["pillow", "fast_image_resize"]
# Width and height; left, top, right and bottom of what they show, on the source.
Size = tuple[int, int]
Box = tuple[float, float, float, float]
Resample = Callable[[Pixels, Size, Box], Pixels]

WIDENED = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# Four bytes that both libraries treat alike; in RGBA the last one would weigh the others.
FOUR_BYTES = "CMYK"


def resample(resampler: Resampler, kernel: Kernel) -> Resample:
    """Return a function of samples, size and box; it returns uint8 samples of that size.

    Samples are uint8 (height, width), or (height, width, 3 or 4), of which 4 come back.
    Raises `ImageError` if this installation lacks the library.
    """
    if resampler == "fast_image_resize":
        return _fast()

    def with_pillow(samples: Pixels, size: Size, box: Box) -> Pixels:
        return np.asarray(_image(samples).resize(size, WIDENED[kernel], box))

    return with_pillow


@cache
def _fast() -> Resample:
    try:
        from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
    except ImportError as error:
        raise ImageError(
            "the transform resamples with fast_image_resize, of the package cykooz.resizer, which "
            "is not installed: pip install cykooz.resizer (on Linux there are wheels for x86-64 "
            "only; elsewhere it needs Rust), or export with --resampler pillow"
        ) from error
    bilinear = ResizeAlg.convolution(FilterType.bilinear)

    def with_fast_image_resize(samples: Pixels, size: Size, box: Box) -> Pixels:
        source = _image(samples)
        # It writes straight into the array.
        target = np.empty((size[1], size[0], len(source.getbands())), np.uint8)
        options = ResizeOptions(bilinear, crop_box=CropBox(*_within(source.size, box)))
        # One resizer keeps its rows for the next image, and takes one image at a time.
        Resizer().resize_pil(source, _image(target), options)
        return target[:, :, 0] if samples.ndim == 2 else target

    return with_fast_image_resize


def _within(size: Size, box: Box) -> Box:
    """Return left, top, width and height; rounding takes no sum beyond the source's edge."""
    left, top, right, bottom = box
    return left, top, min(right - left, size[0] - left), min(bottom - top, size[1] - top)


def _image(samples: Pixels) -> Image.Image:
    """Return uint8 samples of 1, 3 or 4 channels as an image, without a copy if it can be."""
    if samples.ndim == 3 and samples.shape[2] == 3:
        # OpenCV adds the fourth byte without Python's lock, and faster.
        samples = np.asarray(cv2.cvtColor(samples, cv2.COLOR_RGB2RGBA), np.uint8)
    mode = FOUR_BYTES if samples.ndim == 3 and samples.shape[2] == 4 else "L"
    size = samples.shape[1], samples.shape[0]
    return Image.frombuffer(mode, size, np.ascontiguousarray(samples), "raw", mode, 0, 1)
