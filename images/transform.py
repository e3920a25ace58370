"""The one implementation of encoded image -> network pixels: decode, resize, crop."""

from typing import Annotated, Literal

import cv2
import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from images.decoders import decode_picture
from images.errors import ImageError
from images.limits import UNLIMITED, ImageLimits
from images.picture import Picture, joined
from images.picture import Pixels as Pixels

WIDENED = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Frozen(BaseModel):
    """Base of what a file states: immutable, and nothing unknown is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Size(Frozen):
    """A height and a width, in pixels."""

    height: PositiveInt
    width: PositiveInt


class Stretch(Size):
    """Resize to exactly this size; the aspect ratio is not kept."""

    kind: Literal["stretch"] = "stretch"

    def resized(self, width: int, height: int) -> tuple[int, int]:  # noqa: ARG002
        """Return (width, height) after the resize of a width x height image."""
        return self.width, self.height


class ShorterSide(Frozen):
    """Resize so that the shorter side has this many pixels; the longer one is rounded down."""

    kind: Literal["shorter_side"] = "shorter_side"
    pixels: PositiveInt

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) after the resize of a width x height image."""
        shorter = min(width, height)
        return width * self.pixels // shorter, height * self.pixels // shorter


class Transform(Frozen):
    """Encoded image -> uint8 RGB pixels (crop.height, crop.width, 3), driven by data alone.

    With antialias the kernel widens with the reduction, as in Pillow, torchvision and timm; resize
    and centre crop are then one resampling of the cropped region, so that the work is bounded by
    the crop however long the image is. Without it the kernel keeps its width, as in OpenCV and
    MindSpore. Both are fixed-point arithmetic that gives the same pixels with any SIMD; OpenCV's
    bicubic kernel is not, so that there is none without antialias.
    """

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
        if not self.antialias and (self.resize.kind, self.kernel) != ("stretch", "bilinear"):
            raise ValueError(
                f"a {self.kernel} resize of kind {self.resize.kind} needs antialias: true; "
                f"without it the kind must be stretch and the kernel bilinear"
            )
        return self

    def decode(self, data: bytes, limits: ImageLimits = UNLIMITED) -> Pixels:
        """Return the pixels of an encoded image; raise `ImageError` if it is broken or too large.

        Args:
            data: the file.
            limits: what it may cost.
        """
        return self.sample(decode_picture(data, limits, padded=self.antialias))

    def from_rgb(self, rgb: Pixels) -> Pixels:
        """Return the pixels of a decoded uint8 image (height, width, 3), perhaps as a view of it.

        Raises `ImageError` for another form.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise ImageError(
                f"pixels must be uint8 (height, width, 3), got {rgb.dtype} {rgb.shape}"
            )
        return self.sample(Picture(rgb))

    def sample(self, picture: Picture) -> Pixels:
        """Return the pixels of a decoded image, perhaps as a view of it."""
        resized = self.resize.resized(*picture.size)
        if resized == picture.size:
            return self._centre(picture.rgb())
        way = self._widened if self.antialias else self._fixed
        return way(picture, *resized)

    def _widened(self, picture: Picture, width: int, height: int) -> Pixels:
        left, right = _span(picture.size[0], width, self.crop.width)
        top, bottom = _span(picture.size[1], height, self.crop.height)
        size, box = (self.crop.width, self.crop.height), (left, top, right, bottom)

        def resize(samples: Pixels) -> Pixels:
            return np.asarray(_image(samples).resize(size, WIDENED[self.kernel], box))

        # `map` lets go of each channel before the next one is made.
        return joined(list(map(resize, picture.upright())))

    def _fixed(self, picture: Picture, width: int, height: int) -> Pixels:
        def resize(samples: Pixels) -> Pixels:
            resized = cv2.resize(samples, (width, height), interpolation=cv2.INTER_LINEAR)
            return np.asarray(resized, np.uint8)

        return self._centre(joined(list(map(resize, picture.upright()))))

    def _centre(self, rgb: Pixels) -> Pixels:
        top = (rgb.shape[0] - self.crop.height) // 2
        left = (rgb.shape[1] - self.crop.width) // 2
        return rgb[top : top + self.crop.height, left : left + self.crop.width]


def _image(samples: Pixels) -> Image.Image:
    """Return uint8 samples of 1, 3 or 4 channels as an image, without a copy if it can be."""
    if samples.ndim == 3 and samples.shape[2] == 3:
        # OpenCV adds the fourth byte without Python's lock, and faster.
        samples = np.asarray(cv2.cvtColor(samples, cv2.COLOR_RGB2RGBA), np.uint8)
    mode, size = "L" if samples.ndim == 2 else "RGBX", (samples.shape[1], samples.shape[0])
    return Image.frombuffer(mode, size, np.ascontiguousarray(samples), "raw", mode, 0, 1)


def _span(source: int, resized: int, crop: int) -> tuple[float, float]:
    """Return where a centre crop of the resized axis begins and ends on the source axis."""
    scale = source / resized
    start = (resized - crop) // 2
    return start * scale, min((start + crop) * scale, float(source))
