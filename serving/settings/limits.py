"""What one request, and all that are in flight, may take."""

from typing import Self

from pydantic import Field, PositiveInt, model_validator
from pydantic_settings import BaseSettings

from images.limits import ImageLimits
from serving.settings.types import flag

IMAGE_LIMITS = ImageLimits()


class ImageLimitSettings(BaseSettings):
    """What one image may be and need."""

    max_image_bytes: PositiveInt = Field(
        IMAGE_LIMITS.max_image_bytes, description="maximum size of an encoded image, in bytes"
    )
    max_image_pixels: PositiveInt = Field(
        IMAGE_LIMITS.max_image_pixels,
        description="maximum width x height of an image; this and the following are checked by one "
        "walk over the file, before decoding",
    )
    max_image_side: PositiveInt = Field(
        IMAGE_LIMITS.max_image_side, description="maximum width or height of an image, in pixels"
    )
    max_image_parts: PositiveInt = Field(
        IMAGE_LIMITS.max_image_parts,
        description="maximum segments and scans, or chunks, of an image file",
    )
    max_image_mib: PositiveInt = Field(
        IMAGE_LIMITS.max_image_mib,
        description="maximum memory to decode an image, in MiB: 1 to 10 bytes per pixel, by what "
        "the file says of itself",
    )
    max_image_ms: PositiveInt = Field(
        IMAGE_LIMITS.max_image_ms,
        description="maximum CPU time to decode an image, in milliseconds, as estimated from "
        "pixels, scans, inflated and encoded bytes",
    )

    @property
    def image_limits(self) -> ImageLimits:
        """The settings that bound an image."""
        return ImageLimits(**{name: getattr(self, name) for name in ImageLimits._fields})


class LimitSettings(ImageLimitSettings):
    """Images, bytes and pixels: of one image, of one message, in flight."""

    max_images_per_request: PositiveInt = Field(128, description="maximum images in a request")
    max_inflight_images: int = Field(
        1024,
        gt=0,
        le=2**20,
        description="maximum images in flight per model, from admission to answer; a request that "
        "would exceed it is refused",
    )
    max_inflight_bytes: PositiveInt = Field(
        512 * 2**20, description="maximum bytes of encoded images in flight per model"
    )
    max_inflight_pixels: PositiveInt = Field(
        2_000_000_000,
        description="maximum pixels of images in flight per model, counted before the transform",
    )
    max_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="largest share of --max-inflight-images, -bytes and -pixels that one caller "
        "may have: who shows a token or a certificate that --token-file names, or else an address; "
        "1: no such limit",
    )
    max_message_bytes: int = Field(
        32 * 2**20,
        gt=0,
        le=2**31 - 1,  # gRPC's own
        description="maximum size of a gRPC message, and of a body over HTTP, as it comes and "
        "inflated, in bytes",
    )
    max_transfer_bytes: PositiveInt = Field(
        2**30,
        description="maximum bytes of requests that have been arriving for more than 5 s, and "
        "of answers that have been waiting to be read for as long; an incomplete request counts as "
        "--max-message-bytes; beyond it the oldest calls are ended",
    )

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        for largest, in_flight, share in (
            ("max_images_per_request", "max_inflight_images", self.max_share),
            ("max_message_bytes", "max_inflight_bytes", self.max_share),
            ("max_message_bytes", "max_transfer_bytes", 1),
            ("max_image_pixels", "max_inflight_pixels", self.max_share),
        ):
            if getattr(self, largest) > share * getattr(self, in_flight):
                raise ValueError(
                    f"{flag(largest)} is {getattr(self, largest)}: such a request could never be "
                    f"admitted with {flag(in_flight)} {getattr(self, in_flight)}"
                    + (f" and {flag('max_share')} {share:g}" if share < 1 else "")
                )
        return self
