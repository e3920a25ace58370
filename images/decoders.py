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

The EXIF orientation is applied before anything is measured. No decoder sees metadata: `walk` leaves
it out, finds the orientation in it, and refuses what would cost too much.
"""

import io
import struct
import threading
import time
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from images.errors import ImageError as ImageError
from images.errors import damaged
from images.files.found import Found
from images.files.walk import walk
from images.header import Header
from images.limits import UNLIMITED, ImageLimits
from images.picture import Picture, oriented
from images.picture import Pixels as Pixels

# What Pillow reads of a file or converts at once, in bytes and in pixels: it holds Python's lock
# where it copies, for less than a millisecond then.
BLOCK_BYTES, STRIP_PIXELS = 2**20, 2**18
# How many bytes photos have that are decoded into memory kept by their thread. For less the C
# library keeps memory itself; more, above 16 megapixels, is too much to keep.
KEPT_BYTES = range(2**22, 2**26 + 1)

_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError,
    MemoryError, struct.error, zlib.error, cv2.error,
)  # fmt: skip


def configure() -> None:
    """Set up Pillow and OpenCV for this process; every program here does before it decodes.

    Without it the pixels are the same, but Pillow warns of images above `Image.MAX_IMAGE_PIXELS`
    and refuses those of twice as many, and OpenCV starts threads that compete with the caller's.
    """
    # Code that must bound the pixels says so with `ImageLimits`, and does not rely on a global.
    Image.MAX_IMAGE_PIXELS = None
    # Images are transformed in parallel; one of them is too small to be worth a thread pool inside.
    cv2.setNumThreads(1)


def read_header(data: bytes, limits: ImageLimits = UNLIMITED) -> Header:
    """Return format and size (after EXIF orientation) without decoding; raise `ImageError`."""
    found = walk(data, limits)
    return Header(found.format, *found.size)


def decode(data: bytes, limits: ImageLimits = UNLIMITED) -> Pixels:
    """Return uint8 RGB (height, width, 3) of an encoded image; raise `ImageError`."""
    return decode_picture(data, limits).rgb()


def decode_picture(
    data: bytes,
    limits: ImageLimits = UNLIMITED,
    *,
    padded: bool = False,
    reduction: Callable[[int, int], int] | None = None,
) -> Picture:
    """Return the pixels of an encoded image, perhaps transposed; raise `ImageError`.

    Args:
        data: the file.
        limits: what it may cost.
        padded: whether a fourth byte per pixel, which Pillow's resize takes, is welcome. The pixels
            may then be in memory into which this thread decodes its next photo.
        reduction: by how much the sides of a plain JPEG may be divided, 1, 2, 4 or 8, from its
            upright width and height, which can be; what costs too much at full size is refused.
    """
    found = walk(data, limits)
    reduced = reduction(*found.size) if reduction and found.is_plain else 1
    width, height = found.width // reduced, found.height // reduced
    try:
        samples = _decoded(found, limits, padded=padded, size=(width, height))
    except ImageError:
        raise
    except _DECODER_ERRORS as error:
        raise damaged(str(error) or type(error).__name__) from error
    if samples.shape[:2] != (height, width):
        stated, came = f"{width} x {height}", f"{samples.shape[1]} x {samples.shape[0]}"
        raise damaged(f"{stated} pixels were stated, {came} came")
    return oriented(samples, found.orientation, reduced)


def _decoded(found: Found, limits: ImageLimits, *, padded: bool, size: tuple[int, int]) -> Pixels:
    if found.is_plain:
        return _plain_jpeg(found, "RGBX" if padded else "RGB", *size)
    return _webp(found) if found.format == "WEBP" else _with_pillow(found, limits)


def _plain_jpeg(found: Found, colours: str, width: int, height: int) -> Pixels:
    """Decode as Pillow does, with the same library, but straight into an array of that size.

    Not strict: like Pillow, it goes on after a defect from which the library recovers.
    """
    colours = "GRAY" if found.is_grey else colours
    options: dict[str, int] = {"fastdct": False, "fastupsample": False, "strict": False}
    if width < found.width:
        options |= {"min_width": width, "min_height": height}
    is_kept = colours == "RGBX" and height * width * 4 in KEPT_BYTES
    buffer = _kept.canvas(height, width) if is_kept else None
    samples = np.asarray(simplejpeg.decode_jpeg(found.data, colours, buffer=buffer, **options))
    return samples[:, :, 0] if found.is_grey else samples


class _Kept(threading.local):
    """Memory for a thread's large photos, as much as the largest one needed.

    To allocate it for each, page by page and zeroed, takes a tenth of the time in which two threads
    decode.
    """

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def canvas(self, height: int, width: int) -> Pixels:
        """Return uint8 (height, width, 4)."""
        size = height * width * 4
        if self._memory.size < size:
            self._memory = np.empty(0, np.uint8)  # both are not needed at once
            self._memory = np.empty(size, np.uint8)
        return self._memory[:size].reshape(height, width, 4)


_kept = _Kept()


def _webp(found: Found) -> Pixels:
    """Decode as Pillow does, with the same library, but without a canvas for an animation.

    That takes 16 bytes per pixel, and Python's lock all the while.
    """
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    samples = cv2.imdecode(np.frombuffer(found.data, np.uint8), flags)
    if samples is None:
        raise ValueError("the WebP's picture is damaged or truncated")
    picture, shape = np.asarray(samples, np.uint8), (found.height, found.width, 3)
    if picture.shape == shape:
        return picture
    canvas = np.zeros(shape, np.uint8)
    height, width = picture.shape[:2]
    canvas[found.top : found.top + height, found.left : found.left + width] = picture
    return canvas


class _Metered(io.BytesIO):
    """A file that gives up a decode which takes too long; Pillow reads it block by block.

    Deflate's tables are built for each block of a PNG, and a block may hold no pixel: a byte of
    such blocks takes five times as long as one of pixels, and only who inflates them sees them.
    """

    def __init__(self, data: bytes, limits: ImageLimits) -> None:
        super().__init__(data)
        self._limits, self._started_ns = limits, time.thread_time_ns()

    def read(self, size: int | None = -1) -> bytes:
        self._limits.check_taken(time.thread_time_ns() - self._started_ns)
        return super().read(size)


def _with_pillow(found: Found, limits: ImageLimits) -> Pixels:
    # A small file cannot take long, and a thread's own time is dear to ask for.
    is_small = len(found.data) <= BLOCK_BYTES
    file = io.BytesIO(found.data) if is_small else _Metered(found.data, limits)
    try:
        image = Image.open(file, formats=(found.format,))
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"the image is too large for Pillow as it is configured: {error}"
        ) from error
    with image:
        image.decodermaxblock = BLOCK_BYTES
        image.load()
        return _samples(image)


def _samples(image: Image.Image) -> Pixels:
    """Return uint8 (height, width), or (height, width, 3) for RGB, strip by strip."""
    is_grey = image.mode in ("1", "L", "I;16")
    shape = (image.height, image.width) if is_grey else (image.height, image.width, 3)
    samples = np.empty(shape, np.uint8)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image
        if rows < image.height:
            strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        if image.mode == "I;16":
            samples[top : top + rows] = np.asarray(strip) >> 8
        else:
            samples[top : top + rows] = np.asarray(strip.convert("L" if is_grey else "RGB"))
    return samples
