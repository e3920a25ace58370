"""How pixels are resampled with antialias: by Pillow, or by the Rust library fast_image_resize.

Both compute in fixed point, so that pixels do not depend on the processor. They round differently:
bilinear by 1, in a tenth to a quarter of the samples, and by 2 in fewer than one of 100,000, when
noise is enlarged. Bicubic, which overshoots, by up to 30.

A resize is two passes, along rows and along columns, and what lies between them is rounded to 8
bits: their order decides a quarter of the samples, by 1. fast_image_resize begins along columns.
Pillow begins along rows, but in version 13 no longer where the height shrinks by more than twice as
many pixels as the width; here such images are resized as they always were, in two calls.
"""

from collections.abc import Callable
from functools import cache
from math import ceil, floor
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
Library = Callable[[Pixels, Size, Box], Pixels]

WIDENED = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# How many source pixels a kernel reaches to either side if the image is not reduced.
REACH = {"bilinear": 1, "bicubic": 2}
# Images that are taller by more begin along columns, as since Pillow 12.2: each of their rows would
# become as wide as the result.
TALL = 100
# How many columns are resized at once.
BLOCK = 512
# Four bytes that both libraries treat alike; in RGBA the last one would weigh the others.
FOUR_BYTES, FOUR = "CMYK", (4,)


class Resample:
    """Resizes a part of an image with antialias.

    Raises `ImageError` if this installation lacks the library.
    """

    def __init__(self, resampler: Resampler, kernel: Kernel) -> None:
        self._is_fast, self._reach = resampler == "fast_image_resize", REACH[kernel]
        self._library = _fast() if self._is_fast else _pillow(kernel)

    def __call__(
        self, samples: Pixels, size: Size, box: Box, *, is_transposed: bool = False
    ) -> Pixels:
        """Return uint8 samples of that size, upright.

        Args:
            samples: uint8 (height, width), or (height, width, 3 or 4), of which 4 come back.
            size: of the result.
            box: what it shows of the upright image.
            is_transposed: whether the samples' rows are columns of the upright image. They are
                turned after the resize, in which the passes change places.
        """
        if is_transposed and samples.ndim == 2:
            # fast_image_resize does not give these the pixels of two passes.
            samples, is_transposed = np.asarray(cv2.transpose(samples), np.uint8), False
        height, width = samples.shape[:2]
        if is_transposed:
            along_rows = self._is_fast or _is_tall(height, width, size)
            turned = box[1], box[0], box[3], box[2]
            resized = self._in_turn(samples, size[::-1], turned, along_rows=along_rows)
            return np.asarray(cv2.transpose(resized), np.uint8)
        if self._is_fast or not _differs(width, height, size):
            return self._library(samples, size, box)
        return self._in_turn(samples, size, box, along_rows=not _is_tall(width, height, size))

    def _in_turn(self, samples: Pixels, size: Size, box: Box, *, along_rows: bool) -> Pixels:
        """Resize along one axis, and then along the other one."""
        (width, height), (left, top, right, bottom) = size, box
        rows, columns = samples.shape[:2]
        # What is read keeps its place in the whole: elsewhere, a weight in a hundred million would
        # be rounded differently. The rest of it is never read.
        if along_rows:
            first, last = self._read(top, bottom, height, rows)
            part = samples[first:last], (width, last - first), (left, 0.0, right, last - first)
            resized = self._library(*part)
            between = np.empty((rows, *resized.shape[1:]), np.uint8)
            between[first:last] = resized
            return self._library(between, size, (0, top, width, bottom))
        first, last = self._read(left, right, width, columns)
        between = np.empty((height, columns, *FOUR[: samples.ndim - 2]), np.uint8)
        for start in range(first, last, BLOCK):
            # A block is copied, and no more than that.
            block = samples[:, start : min(start + BLOCK, last)]
            across = block.shape[1]
            edges = 0.0, top, across, bottom
            between[:, start : start + across] = self._library(block, (across, height), edges)
        return self._library(between, size, (left, 0, right, height))

    def _read(self, start: float, end: float, size: int, samples: int) -> tuple[int, int]:
        """Return from and to where the pass along an axis reads at most."""
        reach = self._reach * max(1.0, (end - start) / size)
        return max(0, floor(start - reach) - 1), min(samples, ceil(end + reach) + 1)


@cache
def resample(resampler: Resampler, kernel: Kernel) -> Resample:
    """Return what resizes; raise `ImageError` if this installation lacks the library."""
    return Resample(resampler, kernel)


def _differs(width: int, height: int, size: Size) -> bool:
    """Return whether not all versions of Pillow begin along rows."""
    return height - size[1] > max(0, 2 * (width - size[0])) or _is_tall(width, height, size)


def _is_tall(width: int, height: int, size: Size) -> bool:
    return height > TALL * width and height > size[1]


def _pillow(kernel: Kernel) -> Library:
    def with_pillow(samples: Pixels, size: Size, box: Box) -> Pixels:
        return np.asarray(_image(samples).resize(size, WIDENED[kernel], box))

    return with_pillow


def _fast() -> Library:
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
