"""The walk over a file of any format that is read."""

from collections.abc import Callable

from images.errors import ImageError
from images.files import bmp, jpeg, png, webp
from images.files.found import Found
from images.limits import UNLIMITED, ImageLimits

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
# What pictures often come in, too: named in the refusal, so that whoever sent one can convert it.
OTHERS = {
    b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%PDF": "PDF", b"<svg": "SVG",
}  # fmt: skip
# ISO 14496-12: the brand of a file stands behind "ftyp".
BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"avif": "AVIF"}


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
    if other := _other(data):
        raise ImageError(f"the file is in {other}, which is not read; save it as one of {formats}")
    raise ImageError(f"{len(data)} bytes are not an image in one of the formats {formats}")


def _other(data: bytes) -> str | None:
    """Return the name of a known format that is not read."""
    if data[4:8] == b"ftyp":
        return BRANDS.get(bytes(data[8:12]))
    return OTHERS.get(bytes(data[:4]))
