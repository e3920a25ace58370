"""A decoded image, and how it becomes upright in little memory."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from images.files.orientation import SWAPS_AXES

Pixels = NDArray[np.uint8]
# What OpenCV reverses by EXIF's orientation, before axes are swapped: rows (0), columns (1) or both
# (-1).
FLIPS = {2: 1, 3: -1, 4: 0, 6: 0, 7: -1, 8: 1}


class Picture(NamedTuple):
    """Pixels that are upright, but for rows that may be columns.

    Attributes:
        samples: uint8 (height, width) if grey, (height, width, 3) for RGB, or (height, width, 4),
            RGB and a byte without a meaning: the layout that Pillow resizes without a copy.
        is_transposed: whether rows are columns of the upright image. With antialias it is turned
            after the resize: to turn all of a photo takes as long as to decode it.
        reduction: how many pixels of the file, along each axis, one pixel here stands for.
    """

    samples: Pixels
    is_transposed: bool = False
    reduction: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the file when upright, in pixels."""
        height, width = (side * self.reduction for side in self.samples.shape[:2])
        return (height, width) if self.is_transposed else (width, height)

    def turned_planes(self) -> Iterator[Pixels]:
        """Yield the channels of a transposed picture, turned, one by one; a grey one has one.

        Turned as a whole, a photo of 50 megapixels would take another 150 MB.
        """
        for channel in range(1 if self.samples.ndim == 2 else 3):
            plane = self.samples if self.samples.ndim == 2 else _plane(self.samples, channel)
            yield np.asarray(cv2.transpose(plane), np.uint8)

    def rgb(self) -> Pixels:
        """Return the upright pixels, uint8 (height, width, 3)."""
        turned = cv2.transpose(self.samples) if self.is_transposed else self.samples
        return as_rgb(np.asarray(turned, np.uint8))


def oriented(samples: Pixels, orientation: int, reduction: int) -> Picture:
    """Return stored samples as a picture, by EXIF's orientation, 1 to 8.

    They are flipped in place; axes that are swapped stay so.
    """
    if orientation in FLIPS:
        cv2.flip(samples, FLIPS[orientation], samples)
    return Picture(samples, orientation in SWAPS_AXES, reduction)


def _plane(samples: Pixels, channel: int) -> Pixels:
    return np.asarray(cv2.extractChannel(samples, channel), np.uint8)


def as_rgb(samples: Pixels) -> Pixels:
    """Return uint8 RGB (height, width, 3) of grey, RGB, or RGB and a byte without a meaning."""
    if samples.ndim == 2:
        return np.asarray(cv2.cvtColor(samples, cv2.COLOR_GRAY2RGB), np.uint8)
    if samples.shape[2] == 4:
        return np.asarray(cv2.cvtColor(samples, cv2.COLOR_RGBA2RGB), np.uint8)
    return samples
