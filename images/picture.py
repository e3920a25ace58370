"""A decoded image as it is stored, and how it becomes upright in little memory."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from images.files.orientation import SWAPS_AXES, UPRIGHT

Pixels = NDArray[np.uint8]


class Picture(NamedTuple):
    """Pixels before the EXIF orientation is applied.

    Attributes:
        samples: uint8 (height, width) if grey, (height, width, 3) for RGB, or (height, width, 4),
            RGB and a byte without a meaning: the layout that Pillow resizes without a copy.
        orientation: EXIF's, 1 to 8.
        reduction: how many pixels of the file, along each axis, one pixel here stands for.
    """

    samples: Pixels
    orientation: int = UPRIGHT
    reduction: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the file when upright, in pixels."""
        height, width = (side * self.reduction for side in self.samples.shape[:2])
        return (height, width) if self.orientation in SWAPS_AXES else (width, height)

    def upright(self) -> Iterator[Pixels]:
        """Yield the upright pixels: as they are stored, or channel by channel if they are turned.

        A resize treats each channel by itself. So the turned copy need not have all at once: that
        of a photo of 50 megapixels would have 150 MB. To turn after the resize would be cheaper
        and differ in some pixels, as it works along rows first.
        """
        if self.orientation == UPRIGHT or self.samples.ndim == 2:
            yield turned(self.samples, self.orientation)
        else:
            for channel in range(3):
                yield turned(_channel(self.samples, channel), self.orientation)

    def rgb(self) -> Pixels:
        """Return the upright pixels, uint8 (height, width, 3)."""
        return joined(list(self.upright()))


def _channel(samples: Pixels, channel: int) -> Pixels:
    return np.asarray(cv2.extractChannel(samples, channel), np.uint8)


def turned(samples: Pixels, orientation: int) -> Pixels:
    """Return what is to be seen of stored samples; themselves if they are upright."""
    match orientation:
        case 2:
            return np.asarray(cv2.flip(samples, 1), np.uint8)
        case 3:
            return np.asarray(cv2.rotate(samples, cv2.ROTATE_180), np.uint8)
        case 4:
            return np.asarray(cv2.flip(samples, 0), np.uint8)
        case 5:
            return np.asarray(cv2.transpose(samples), np.uint8)
        case 6:
            return np.asarray(cv2.rotate(samples, cv2.ROTATE_90_CLOCKWISE), np.uint8)
        case 7:
            clockwise = cv2.rotate(samples, cv2.ROTATE_90_CLOCKWISE)
            return np.asarray(cv2.flip(clockwise, 0, clockwise), np.uint8)
        case 8:
            return np.asarray(cv2.rotate(samples, cv2.ROTATE_90_COUNTERCLOCKWISE), np.uint8)
        case _:
            return samples


def joined(parts: list[Pixels]) -> Pixels:
    """Return uint8 RGB (height, width, 3) of what `upright` yields, perhaps resized."""
    if len(parts) == 3:
        return np.asarray(cv2.merge(parts), np.uint8)
    [whole] = parts
    if whole.ndim == 2:
        return np.asarray(cv2.cvtColor(whole, cv2.COLOR_GRAY2RGB), np.uint8)
    if whole.shape[2] == 4:
        return np.asarray(cv2.cvtColor(whole, cv2.COLOR_RGBA2RGB), np.uint8)
    return whole
