"""What the network sees of an image: `curl -T cat.jpg …/v1/pixels > pixels.png`."""

import asyncio
from functools import partial
from typing import Annotated, Any

import cv2
from fastapi import Header, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from images.errors import SlowImageError
from images.limits import ImageLimits
from serving.engine.model import Model
from serving.engine.sources import Encoded
from serving.errors import DeadlineExceededError, InvalidImageError
from serving.http.calls import Calls, Name, TimeoutHeader
from serving.http.openapi import BINARY, FILE, IMAGE_ERRORS, responses
from serving.http.routes import DirectRoute

PNG = "image/png"
LATE = "the deadline passed before the image was decoded"
BODY = {
    "required": True,
    "description": "an image file as it is (JPEG, PNG, WebP or BMP), of any content type",
    "content": {"application/octet-stream": BINARY},
}


class PixelsQuery(BaseModel):
    """Of which model `/v1/pixels` is asked."""

    model_config = ConfigDict(extra="forbid")

    model: Name = Field("", description="name of the model; empty: the only one")
    version: Name = Field("", description="its version; empty: as for /v1/classify")


Asked = Annotated[PixelsQuery, Query()]
Timeout = Annotated[TimeoutHeader, Header()]


class NetworkPixels:
    """The route that shows what a model's transform makes of an image.

    It is for people who look at one image, and takes nothing from those who send many: one image is
    decoded at a time, besides those that are classified, within the same limits.

    Args:
        calls: what a request asks for.
        limits: what an image may cost.
    """

    def __init__(self, calls: Calls, limits: ImageLimits) -> None:
        self._calls, self._limits = calls, limits
        self._turns = calls.turns()

    def routes(self) -> list[DirectRoute]:
        """Return the routes, with what /openapi.json says of them."""
        good = {"description": "the pixels", "content": {PNG: {"schema": FILE}}}
        described: dict[str, Any] = {
            "openapi_extra": {"requestBody": BODY},
            "responses": responses({}, *IMAGE_ERRORS) | {200: good},
        }
        return [
            DirectRoute("/v1/pixels", self.pixels, methods=[how], **described)
            for how in ("POST", "PUT")
        ]

    async def pixels(self, request: Request, query: Asked, headers: Timeout) -> Response:
        """Show what the network sees of an image: the decoded, resized and cropped pixels, a PNG.

        They are those that the same image is classified by.
        """
        model = self._calls.model(query.model, query.version, request)
        hold = model.hold()  # while the body comes
        body = await self._calls.body(request)
        deadline = self._calls.deadline(request, headers)
        work = partial(_png, model, self._limits, deadline, Encoded(body))
        try:
            async with asyncio.timeout_at(deadline):  # the loop has the monotonic clock, too
                png = await self._turns.take(len(body), work)
        except TimeoutError:
            raise DeadlineExceededError(LATE) from None
        del hold
        return Response(png, media_type=PNG, headers={"x-content-type-options": "nosniff"})


def _png(model: Model, limits: ImageLimits, deadline: float, image: Encoded) -> bytes:
    """Return a PNG file of the network's pixels.

    Raises `InvalidImageError`, and if another process decodes, what `Elsewhere.show` does.
    """
    try:
        if model.elsewhere:
            pixels = model.elsewhere.show(model, image, deadline)
        else:
            pixels = image.pixels(model.bundle.manifest.transform, limits)
    except SlowImageError as error:
        raise InvalidImageError(str(error)) from error
    _, png = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return png.tobytes()
