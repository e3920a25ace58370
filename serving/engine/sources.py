"""Images as callers send them, and how they become the network's pixels."""

from typing import NamedTuple, Protocol

import numpy as np

from images.decoders import ImageError, Pixels, read_header
from images.header import sniff
from images.transform import Transform
from serving.errors import InvalidImageError


class Size(NamedTuple):
    """What an image claims to be before it is decoded: its kind, pixels, and bytes as it came."""

    kind: str
    pixels: int
    nbytes: int


class Source(Protocol):
    """An image as it arrived."""

    def size(self, max_image_pixels: int) -> Size:
        """Return what it claims: no pixels if it is too large, or if nothing is known of it."""

    def pixels(self, transform: Transform, max_image_pixels: int) -> Pixels:
        """Return uint8 pixels (height, width, 3) of the transform's crop.

        Raises:
            InvalidImageError: broken, or larger than `max_image_pixels` before the transform.
        """


class Encoded:
    """A whole image file; its first bytes are parsed once, when it is created."""

    __slots__ = ("_sniffed", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._sniffed = sniff(data)

    def size(self, max_image_pixels: int) -> Size:
        """Return what the header claims."""
        header = self._sniffed
        if header is None or header.pixels > max_image_pixels:
            return Size("unknown", 0, len(self.data))
        return Size(header.format, header.pixels, len(self.data))

    def pixels(self, transform: Transform, max_image_pixels: int) -> Pixels:
        """Check the size by the header, decode and transform."""
        try:
            header = read_header(self.data, self._sniffed)
            _check_size(header.height, header.width, max_image_pixels)
            return transform.decode(self.data, header)
        except ImageError as error:
            raise InvalidImageError(str(error)) from error


class Raw(NamedTuple):
    """Decoded uint8 samples, row by row, channels interleaved; 3 channels are RGB, 1 is grey."""

    samples: bytes
    height: int
    width: int
    channels: int

    def size(self, max_image_pixels: int) -> Size:
        """Return what the caller states."""
        pixels = self.height * self.width
        return Size("raw", pixels if pixels <= max_image_pixels else 0, len(self.samples))

    def pixels(self, transform: Transform, max_image_pixels: int) -> Pixels:
        """Check the shape, repeat grey to RGB and transform."""
        shape = (self.height, self.width, self.channels)
        if self.channels not in (1, 3) or 0 in shape:
            raise InvalidImageError(
                f"a raw image cannot have height {self.height}, width {self.width} and "
                f"{self.channels} channels: height and width must be positive, channels 1 or 3"
            )
        _check_size(self.height, self.width, max_image_pixels)
        if len(self.samples) != self.height * self.width * self.channels:
            raise InvalidImageError(
                f"a raw image of {self.height} x {self.width} x {self.channels} (height x width x "
                f"channels) has {self.height * self.width * self.channels} bytes, "
                f"but {len(self.samples)} were sent"
            )
        samples = np.frombuffer(self.samples, np.uint8).reshape(shape)
        return transform.from_rgb(np.ascontiguousarray(np.broadcast_to(samples, (*shape[:2], 3))))


def _check_size(height: int, width: int, max_image_pixels: int) -> None:
    if height * width > max_image_pixels:
        raise InvalidImageError(
            f"the image has {width} x {height} = {width * height} pixels; "
            f"this server takes at most {max_image_pixels}"
        )
