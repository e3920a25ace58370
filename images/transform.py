"""The one implementation of encoded image -> network pixels: decode, resize, crop."""

from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from images.decoders import decode_picture
from images.errors import ImageError
from images.files.walk import walk
from images.limits import UNLIMITED, Cost, ImageLimits
from images.picture import Picture, as_rgb
from images.picture import Pixels as Pixels
from images.resampling import Box, Kernel, Resampler, resample

Decoding = Literal["full", "reduced"]
# Of libjpeg's scales, those that its fast code computes; more would cost more than to decode fully.
REDUCTIONS = (8, 4, 2)


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

    What was added later is left out of JSON if it is the usual: bundles without it stay the same.
    """

    resize: Annotated[Stretch | ShorterSide, Field(discriminator="kind")]
    crop: Size
    kernel: Kernel = "bilinear"
    antialias: bool = True
    resampler: Resampler = Field(
        "pillow",
        exclude_if=lambda resampler: resampler == "pillow",
        description="what resamples with antialias; fast_image_resize, of the package "
        "cykooz.resizer, is several times as fast, and on photos within 1 of Pillow",
    )
    decoding: Decoding = Field(
        "full",
        exclude_if=lambda decoding: decoding == "full",
        description="reduced: a JPEG is decoded at 1/8, 1/4 or 1/2 of its size, if both sides can "
        "be divided so, and at least twice the size of the resize is left",
    )

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

    @model_validator(mode="after")
    def _kinds_fit(self) -> "Transform":
        if self.resampler == "fast_image_resize" and self.kernel != "bilinear":
            raise ValueError(
                f"the resampler fast_image_resize has no {self.kernel} kernel that is close to "
                f"Pillow's: the kernel must be bilinear, or the resampler pillow"
            )
        unusual = (self.resampler, self.decoding) != ("pillow", "full")
        if unusual and not self.antialias:
            raise ValueError(
                "without antialias there is no other resampler, and no reduced decoding: leave "
                "both out, or state antialias: true"
            )
        return self

    def decode(self, data: bytes, limits: ImageLimits = UNLIMITED) -> Pixels:
        """Return the pixels of an encoded image; raise `ImageError` if it is broken or too large.

        Args:
            data: the file.
            limits: what it may cost.
        """
        reduction = self._reduction if self.decoding == "reduced" else None
        picture = decode_picture(data, limits, padded=self.antialias, reduction=reduction)
        if self.antialias:
            limits.check_cost(self._cost(picture))
        return self.sample(picture)

    def reduces(self, data: bytes) -> bool:
        """Return whether an image file is decoded at a smaller scale; raise `ImageError`."""
        found = walk(data)
        return self.decoding == "reduced" and found.is_plain and self._reduction(*found.size) > 1

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

    def _reduction(self, width: int, height: int) -> int:
        """Return by what the sides of a JPEG are divided as it is decoded; 1 if they are not."""
        goals = zip((width, height), self.resize.resized(width, height), strict=True)
        axes = [(side, 2 * resized) for side, resized in goals]
        for reduction in REDUCTIONS:
            if all(s % reduction == 0 and s // reduction >= least for s, least in axes):
                return reduction
        return 1

    def _cost(self, picture: Picture) -> Cost:
        """Return what a resize with antialias needs: the picture, and what lies between the passes.

        Of a long image, that may be more than decoding needed.
        """
        rows, columns = picture.samples.shape[:2]
        height, width = self.crop.height, self.crop.width
        if picture.is_transposed:
            height, width = width, height
        between = 4 * max(rows * width, columns * height)
        what = f"{columns} x {rows} pixels, resized"
        return Cost(what, picture.samples.nbytes + between, 0)

    def _widened(self, picture: Picture, width: int, height: int) -> Pixels:
        left, right = _span(picture.size[0], width, self.crop.width)
        top, bottom = _span(picture.size[1], height, self.crop.height)
        size, scale = (self.crop.width, self.crop.height), picture.reduction
        box: Box = left / scale, top / scale, right / scale, bottom / scale
        resampled = resample(self.resampler, self.kernel)
        return as_rgb(resampled(picture.samples, size, box, is_transposed=picture.is_transposed))

    def _fixed(self, picture: Picture, width: int, height: int) -> Pixels:
        def resize(samples: Pixels) -> Pixels:
            resized = cv2.resize(samples, (width, height), interpolation=cv2.INTER_LINEAR)
            return np.asarray(resized, np.uint8)

        if not picture.is_transposed:
            return self._centre(as_rgb(resize(picture.samples)))
        # OpenCV works along rows first, so that to turn the result would give other pixels. `map`
        # lets go of each channel before the next one is made.
        planes = list(map(resize, picture.turned_planes()))
        return self._centre(as_rgb(np.asarray(cv2.merge(planes), np.uint8)))

    def _centre(self, rgb: Pixels) -> Pixels:
        top = (rgb.shape[0] - self.crop.height) // 2
        left = (rgb.shape[1] - self.crop.width) // 2
        return rgb[top : top + self.crop.height, left : left + self.crop.width]


def _span(source: int, resized: int, crop: int) -> tuple[float, float]:
    """Return where a centre crop of the resized axis begins and ends on the source axis."""
    scale = source / resized
    start = (resized - crop) // 2
    return start * scale, min((start + crop) * scale, float(source))
