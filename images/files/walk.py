"""The walk over a file of any format that is read."""

from collections.abc import Callable

from images.errors import ImageError
from images.files import bmp, jpeg, png, webp
from images.files.found import Found
from images.limits import UNLIMITED, ImageLimits

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")


def walk(data: bytes, limits: ImageLimits = UNLIMITED) -> Found:
    """Return what a file holds; raise `ImageError`, also for what it would cost to decode.

    It ends at the first limit exceeded. Its time grows with the file's parts, which are limited,
    and hardly with its bytes.
    """
    limits.check_bytes(len(data))
    return _walk_of(data)(data, limits)


def _walk_of(data: bytes) -> Callable[[bytes, ImageLimits], Found]:
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.walk
    if data.startswith(png.SIGNATURE):
        return png.walk
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return webp.walk
    if data.startswith(b"BM"):
        return bmp.walk
    formats = ", ".join(FORMATS)
    raise ImageError(f"{len(data)} bytes are not an image in one of the formats {formats}")
