"""Encoded image -> RGB pixels: which formats, in which colours, which way up.

How other colour modes become RGB:

========================  ==========================================================
grey (1, 8 bit)           copied to the three channels
grey (16 bit)             the high byte, copied to the three channels
palette                   the palette's colours
alpha (of any of these)   dropped
CMYK                      (255 - ink) * (255 - black) / 255, as Pillow converts it
16 bit per RGB channel    the high byte
========================  ==========================================================

The EXIF orientation is applied before anything is measured.
"""

import io
import struct
import zlib

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from images.header import Header, sniff

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
SWAPS_AXES = frozenset({5, 6, 7, 8})
ORIENTATION_TAG = 0x0112

_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip


class ImageError(ValueError):
    """The bytes are not an image that can be classified; the message says why."""


def configure() -> None:
    """Set up Pillow and OpenCV for this process; every program here does before it decodes.

    Without it the pixels are the same, but Pillow warns of images above `Image.MAX_IMAGE_PIXELS`
    and refuses those of twice as many, and OpenCV starts threads that compete with the caller's.
    """
    # Code that must bound the pixels asks `read_header` for them, and does not rely on a global.
    Image.MAX_IMAGE_PIXELS = None
    # Images are transformed in parallel; one of them is too small to be worth a thread pool inside.
    cv2.setNumThreads(1)


def read_header(data: bytes, sniffed: Header | None = None) -> Header:
    """Return format and size (after EXIF orientation) without decoding; raise `ImageError`.

    Args:
        data: the file.
        sniffed: what `sniff` found in it, if that was asked already.
    """
    header = sniffed or sniff(data)
    if header and header.is_plain_jpeg:
        return header
    with _open(data) as image:
        try:
            turned = _orientation(image) in SWAPS_AXES
        except _DECODER_ERRORS as error:
            raise ImageError(f"the image's EXIF data is broken: {error}") from error
        width, height = reversed(image.size) if turned else image.size
        return Header(image.format or "", width, height)


def decode(data: bytes, header: Header | None = None) -> Pixels:
    """Return uint8 RGB (height, width, 3) of an encoded image; raise `ImageError`.

    Args:
        data: the file.
        header: what `sniff` or `read_header` found in it, if one was asked already.
    """
    header = header or sniff(data)
    if header and header.is_plain_jpeg and (pixels := _plain_jpeg(data)) is not None:
        return pixels
    with _open(data) as image:
        try:
            return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
        except _DECODER_ERRORS as error:
            raise ImageError(f"the image cannot be decoded: {error}") from error


def _plain_jpeg(data: bytes) -> Pixels | None:
    """Return the pixels of a plain JPEG, None if it is damaged.

    simplejpeg and Pillow run the same decoder; simplejpeg lets it write straight into an array.
    """
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, fastdct=False, fastupsample=False))
    except ValueError:
        # It refuses every defect; Pillow says what is wrong, or reads the image in spite of it.
        return None


def _orientation(image: Image.Image) -> int | None:
    # Without EXIF data before the pixels of a PNG, Pillow decodes them all to look behind them.
    if image.format == "PNG" and "exif" not in image.info:
        return None
    return image.getexif().get(ORIENTATION_TAG)


def _open(data: bytes) -> Image.Image:
    if not data:
        raise ImageError("the image is empty (0 bytes)")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"the image is too large for Pillow as it is configured: {error}"
        ) from error
    except _DECODER_ERRORS as error:
        raise ImageError(
            f"{len(data)} bytes are not an image in one of the formats {', '.join(FORMATS)}"
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        high_byte = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255)
        image = Image.fromarray(high_byte.astype(np.uint8))
    # Pillow warns of transparency in a palette; it is dropped here by rule.
    image.info.pop("transparency", None)
    return image.convert("RGB")
