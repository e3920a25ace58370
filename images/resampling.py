"""How pixels are resampled with antialias: by Pillow, or by the Rust library fast_image_resize.

Both compute in fixed point, so that pixels do not depend on the processor. They round differently:
bilinear by 1, in a tenth to a quarter of the samples, and by 2 in fewer than one of 100,000, when
noise is enlarged. Bicubic, which overshoots, by up to 30.

A resize is two passes, along rows and along columns, and what lies between them is rounded to 8
bits: their order decides a quarter of the samples, by 1. fast_image_resize begins along columns.
Pillow begins along rows; since 12.2 not if the image is over 100 times as tall as wide (`TALL`),
and in 13 not if the height shrinks by more than twice as many pixels as the width. Here it is
always as in 12.2: where versions differ, each pass is a call of its own.
"""

from collections.abc import Callable, Iterator
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
ResizeOnce = Callable[[Pixels, Size, Box], Pixels]

WIDENED = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# How many source pixels a kernel reaches to either side if the image is not reduced.
REACH = {"bilinear": 1, "bicubic": 2}
# Images over so many times as tall as wide, whose height shrinks, begin along columns:
# along rows, each of very many rows would become as wide as the result.
TALL = 100
# How much is resized at once: the libraries need rows without gaps and four bytes per pixel, and a
# copy of all would double a photo's memory.
STRIP_BYTES = 2**24
# Four bytes that both libraries treat alike; in RGBA the last one would weigh the others.
FOUR_BYTES = "CMYK"


class Resize:
    """Resizes a part of an image with antialias.

    Raises `ImageError` if this installation lacks the library.
    """

    def __init__(self, resampler: Resampler, kernel: Kernel) -> None:
        self._is_fast, self._reach = resampler == "fast_image_resize", REACH[kernel]
        self._once = _fast() if self._is_fast else _pillow(kernel)

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
            # Grey is turned first: fast_image_resize gives it other pixels in two calls.
            samples, is_transposed = np.asarray(cv2.transpose(samples), np.uint8), False
        height, width = samples.shape[:2]
        upright = (height, width) if is_transposed else (width, height)
        columns_first = self._is_fast or _is_tall(*upright, size)
        if is_transposed:
            turned = box[1], box[0], box[3], box[2]
            resized = self._in_turn(samples, size[::-1], turned, along_rows=columns_first)
            return np.asarray(cv2.transpose(resized), np.uint8)
        if self._is_fast or not _depends_on_version(*upright, size):
            return self._once(samples, size, box)
        return self._in_turn(samples, size, box, along_rows=not columns_first)

    def _in_turn(self, samples: Pixels, size: Size, box: Box, *, along_rows: bool) -> Pixels:
        """Resize along one axis, and then along the other one."""
        (width, height), (left, top, right, bottom) = size, box
        rows, columns = samples.shape[:2]
        channels = (4,) if samples.ndim == 3 else ()
        # What is read keeps its place in the whole: elsewhere, a weight in a hundred million would
        # be rounded differently. The rest of it is never read.
        if along_rows:
            between = np.empty((rows, width, *channels), np.uint8)
            read = self._read(top, bottom, height, rows)
            for start, stop in _strips(*read, max(columns, width)):
                strip, shape = samples[start:stop], (width, stop - start)
                between[start:stop] = self._once(strip, shape, (left, 0, right, stop - start))
            return self._once(between, size, (0, top, width, bottom))
        between = np.empty((height, columns, *channels), np.uint8)
        read = self._read(left, right, width, columns)
        for start, stop in _strips(*read, max(rows, height)):
            strip, shape = samples[:, start:stop], (stop - start, height)
            between[:, start:stop] = self._once(strip, shape, (0, top, stop - start, bottom))
        return self._once(between, size, (left, 0, right, height))

    def _read(self, start: float, end: float, size: int, samples: int) -> tuple[int, int]:
        """Return from and to where the pass along an axis reads at most."""
        reach = self._reach * max(1.0, (end - start) / size)
        return max(0, floor(start - reach) - 1), min(samples, ceil(end + reach) + 1)


@cache
def resample(resampler: Resampler, kernel: Kernel) -> Resize:
    """Return what resizes; raise `ImageError` if this installation lacks the library."""
    return Resize(resampler, kernel)


def _depends_on_version(width: int, height: int, size: Size) -> bool:
    """Return whether versions of Pillow begin along different axes."""
    return height - size[1] > max(0, 2 * (width - size[0])) or _is_tall(width, height, size)


def _is_tall(width: int, height: int, size: Size) -> bool:
    return height > TALL * width and height > size[1]


def _strips(first: int, last: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield from and to where strips of so many pixels in length lie."""
    step = max(1, STRIP_BYTES // (4 * length))
    for start in range(first, last, step):
        yield start, min(start + step, last)


def _pillow(kernel: Kernel) -> ResizeOnce:
    def with_pillow(samples: Pixels, size: Size, box: Box) -> Pixels:
        return np.asarray(_image(samples).resize(size, WIDENED[kernel], box))

    return with_pillow


def _fast() -> ResizeOnce:
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
