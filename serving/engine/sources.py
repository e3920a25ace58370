"""Images as callers send them, and how they become the network's pixels."""

import math
from typing import NamedTuple, Protocol

import numpy as np

from images.errors import ImageError, SlowImageError
from images.header import sniff
from images.limits import ImageLimits
from images.picture import Picture, Pixels
from images.transform import Transform
from serving.errors import InvalidImageError

# The kind of an image that another process has decoded before it asked.
DECODED = "decoded"


class Size(NamedTuple):
    """What an image claims to be before it is decoded: its kind, pixels, and bytes as it came."""

    kind: str
    pixels: int
    nbytes: int


class Source(Protocol):
    """An image as it arrived."""

    def size(self, limits: ImageLimits) -> Size:
        """Return what it claims: no pixels if it is too large, or if nothing is known of it."""

    def pixels(self, transform: Transform, limits: ImageLimits) -> Pixels:
        """Return uint8 pixels (height, width, 3) of the transform's crop.

        Raises:
            InvalidImageError: broken, or more than `limits` allow.
            SlowImageError: it would take longer than they allow.
        """


class Encoded:
    """A whole image file; its first bytes are parsed once, when it is created."""

    __slots__ = ("_sniffed", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._sniffed = sniff(data)

    def size(self, limits: ImageLimits) -> Size:
        """Return what the header claims."""
        header = self._sniffed
        if (
            header is None
            or header.pixels > limits.max_image_pixels
            or len(self.data) > limits.max_image_bytes
        ):
            return Size("unknown", 0, len(self.data))
        return Size(header.format, header.pixels, len(self.data))

    def pixels(self, transform: Transform, limits: ImageLimits) -> Pixels:
        """Walk over the file, decode and transform."""
        try:
            return transform.decode(self.data, limits)
        except SlowImageError:
            raise
        except ImageError as error:
            raise InvalidImageError(str(error)) from error


class Raw(NamedTuple):
    """Decoded uint8 samples, row by row, channels interleaved; 3 channels are RGB, 1 is grey."""

    samples: bytes
    height: int
    width: int
    channels: int

    def size(self, limits: ImageLimits) -> Size:
        """Return what the caller states."""
        pixels = self.height * self.width
        return Size("raw", pixels if pixels <= limits.max_image_pixels else 0, len(self.samples))

    def pixels(self, transform: Transform, limits: ImageLimits) -> Pixels:
        """Check the shape and transform."""
        shape = (self.height, self.width, self.channels)
        if self.channels not in (1, 3) or 0 in shape:
            raise InvalidImageError(
                f"a raw image cannot have height {self.height}, width {self.width} and "
                f"{self.channels} channels: height and width must be positive, channels 1 or 3"
            )
        try:
            limits.check_size(self.width, self.height)
        except ImageError as error:
            raise InvalidImageError(str(error)) from error
        if len(self.samples) != self.height * self.width * self.channels:
            raise InvalidImageError(
                f"a raw image of {self.height} x {self.width} x {self.channels} (height x width x "
                f"channels) has {self.height * self.width * self.channels} bytes, "
                f"but {len(self.samples)} were sent"
            )
        samples = np.frombuffer(self.samples, np.uint8)
        return transform.sample(Picture(samples.reshape(shape[: 2 if self.channels == 1 else 3])))


class Ready(NamedTuple):
    """Pixels as the network sees them: uint8 RGB, row by row; nothing is left to be done."""

    samples: bytes

    def size(self, limits: ImageLimits) -> Size:  # noqa: ARG002 - the network's own size
        """Return what it is."""
        return Size("ready", len(self.samples) // 3, len(self.samples))

    def pixels(self, transform: Transform, limits: ImageLimits) -> Pixels:  # noqa: ARG002
        """Check that there are as many as the network takes."""
        shape = transform.crop.height, transform.crop.width, 3
        if len(self.samples) != math.prod(shape):
            raise InvalidImageError(
                f"the network takes pixels of {shape} (height, width, channels), "
                f"{math.prod(shape)} bytes, but {len(self.samples)} were sent"
            )
        return np.frombuffer(self.samples, np.uint8).reshape(shape)
