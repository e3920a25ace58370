"""The one implementation of encoded image -> network pixels: decode, orient, RGB, resize, crop.

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
from typing import Annotated, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
WIDENED = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
FIXED = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
SWAPS_AXES = frozenset({5, 6, 7, 8})
ORIENTATION_TAG = 0x0112

# `read_header` bounds the pixels; Pillow's own limit only warns, and up to twice its value.
Image.MAX_IMAGE_PIXELS = None
# Images are transformed in parallel; one of them is too small to be worth a thread pool inside.
cv2.setNumThreads(1)

_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip


class ImageError(ValueError):
    """The bytes are not an image that can be classified; the message says why."""


class Header(NamedTuple):
    """What an image file says of itself before its pixels are decoded."""

    format: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height


class Size(BaseModel):
    """A height and a width, in pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: PositiveInt
    width: PositiveInt


class Stretch(Size):
    """Resize to exactly this size; the aspect ratio is not kept."""

    kind: Literal["stretch"] = "stretch"

    def resized(self, width: int, height: int) -> tuple[int, int]:  # noqa: ARG002
        """Return (width, height) after the resize of a width x height image."""
        return self.width, self.height


class ShorterSide(BaseModel):
    """Resize so that the shorter side has this many pixels; the longer one is rounded down."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["shorter_side"] = "shorter_side"
    pixels: PositiveInt

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) after the resize of a width x height image."""
        shorter = min(width, height)
        return width * self.pixels // shorter, height * self.pixels // shorter


class Transform(BaseModel):
    """Encoded image -> uint8 RGB pixels (crop.height, crop.width, 3), driven by data alone.

    With antialias the kernel widens with the reduction, as in Pillow, torchvision and timm; resize
    and centre crop are then one resampling of the cropped region, so that the work is bounded by
    the crop however long the image is. Without it the kernel keeps its width, as in OpenCV and
    MindSpore. Both are fixed-point arithmetic that gives the same pixels with any SIMD.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: Annotated[Stretch | ShorterSide, Field(discriminator="kind")]
    crop: Size
    kernel: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = True

    @model_validator(mode="after")
    def _crop_fits(self) -> "Transform":
        width, height = self.resize.resized(1, 1)
        if self.crop.width > width or self.crop.height > height:
            raise ValueError(
                f"a crop of {self.crop.width} x {self.crop.height} does not fit in "
                f"a resize to {width} x {height} (width x height)"
            )
        if not self.antialias and self.resize.kind != "stretch":
            raise ValueError(
                f"a resize of kind {self.resize.kind} needs antialias: true; "
                f"without it the kind must be stretch"
            )
        return self

    def decode(self, data: bytes) -> Pixels:
        """Return the pixels of an encoded image; raise `ImageError` where it is broken."""
        with _open(data) as image:
            try:
                rgb = _to_rgb(ImageOps.exif_transpose(image))
            except _DECODER_ERRORS as error:
                raise ImageError(f"the image cannot be decoded: {error}") from error
            return self._sample(rgb)

    def from_rgb(self, rgb: Pixels) -> Pixels:
        """Return the pixels of a decoded uint8 image (height, width, 3)."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise ImageError(
                f"pixels must be uint8 (height, width, 3), got {rgb.dtype} {rgb.shape}"
            )
        return self._sample(Image.fromarray(rgb))

    def _sample(self, image: Image.Image) -> Pixels:
        return self._widened(image) if self.antialias else self._fixed(image)

    def _widened(self, image: Image.Image) -> Pixels:
        width, height = self.resize.resized(image.width, image.height)
        left, right = _span(image.width, width, self.crop.width)
        top, bottom = _span(image.height, height, self.crop.height)
        size = (self.crop.width, self.crop.height)
        return np.asarray(image.resize(size, WIDENED[self.kernel], (left, top, right, bottom)))

    def _fixed(self, image: Image.Image) -> Pixels:
        width, height = self.resize.resized(image.width, image.height)
        resized: Pixels = np.asarray(
            cv2.resize(np.asarray(image), (width, height), interpolation=FIXED[self.kernel]),
            np.uint8,
        )
        top, left = (height - self.crop.height) // 2, (width - self.crop.width) // 2
        return resized[top : top + self.crop.height, left : left + self.crop.width]


def read_header(data: bytes) -> Header:
    """Return format and size (after EXIF orientation) without decoding; raise `ImageError`."""
    with _open(data) as image:
        try:
            turned = _orientation(image) in SWAPS_AXES
        except _DECODER_ERRORS as error:
            raise ImageError(f"the image's EXIF data is broken: {error}") from error
        width, height = reversed(image.size) if turned else image.size
        return Header(image.format or "", width, height)


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
    except _DECODER_ERRORS as error:
        raise ImageError(
            f"{len(data)} bytes are not an image in one of the formats {', '.join(FORMATS)}"
        ) from error


def _span(source: int, resized: int, crop: int) -> tuple[float, float]:
    """Return where a centre crop of the resized axis begins and ends on the source axis."""
    scale = source / resized
    start = (resized - crop) // 2
    return start * scale, min((start + crop) * scale, float(source))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        high_byte = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255)
        image = Image.fromarray(high_byte.astype(np.uint8))
    # Pillow warns where it finds transparency in a palette; it is dropped here by rule.
    image.info.pop("transparency", None)
    return image.convert("RGB")
