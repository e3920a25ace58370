"""What all requests of images share over HTTP: the model, the deadline, and their bounds."""

import time
from typing import Annotated

from pydantic import BaseModel, Field
from starlette.requests import Request

from serving.config import DAY_S
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import UnavailableError
from serving.http.bodies import Turns, read_body
from serving.lifecycle import Readiness

# What may wait for one thread, in bodies of the largest size.
MOST_WAITING = 8

Name = Annotated[str, Field(max_length=1024)]


class TimeoutHeader(BaseModel):
    """The header that states a deadline."""

    x_request_timeout_ms: int | None = Field(
        None,
        ge=1,
        le=1000 * DAY_S,
        description="time until the answer is of no more use, from the arrival of the request, in "
        "milliseconds; unset: --default-timeout-ms",
    )


class Calls:
    """Finds what a request of images asks for.

    Args:
        repository: the loaded models.
        readiness: the server's state.
        max_images: largest number of images in a request.
        max_body_bytes: size of the largest body, as it comes and inflated.
        default_timeout_s: time that a request has which states none, in seconds.

    Attributes:
        inflating, dividing, parsing: the turns of what is compressed, of forms, and of JSON.
    """

    def __init__(
        self,
        repository: ModelRepository,
        readiness: Readiness,
        *,
        max_images: int,
        max_body_bytes: int,
        default_timeout_s: float,
    ) -> None:
        self.repository, self.max_images = repository, max_images
        self.readiness = readiness
        most_waiting = MOST_WAITING * max_body_bytes
        self.inflating, self.dividing = Turns(most_waiting), Turns(most_waiting)
        self.parsing = Turns(most_waiting)
        self._max_body_bytes, self._default_timeout_s = max_body_bytes, default_timeout_s

    def model(self, name: str, version: str) -> Model:
        """Return the model that a request asks for; empty: the only one, the newest version.

        Raises:
            UnavailableError: nothing is loaded yet, or the server accepts no more requests.
            ModelNotFoundError: there is no such name or version.
            InvalidRequestError: no name is given, and there are several.
        """
        self.check_open()
        return self.repository.get(name, version)

    def check_open(self) -> None:
        """Raise `UnavailableError` if the server accepts no more requests."""
        if self.readiness.closing.is_set():
            raise UnavailableError("the server is draining; try another")

    def deadline(
        self, request: Request, header: TimeoutHeader, timeout_s: float | None = None
    ) -> float:
        """Return when a request must be answered, on the monotonic clock, in seconds.

        That is after the time in its header, or in its body (`timeout_s`), whichever is less.
        """
        stated = header.x_request_timeout_ms
        times = [stated / 1000] if stated is not None else []
        times += [timeout_s] if timeout_s is not None else []
        return arrived_s(request) + min(times, default=self._default_timeout_s)

    async def body(self, request: Request) -> bytes:
        """Return the body of a request, inflated; see `read_body`."""
        return await read_body(request, self._max_body_bytes, self.inflating)


def arrived_s(request: Request) -> float:
    """Return when the first byte of a request came, on the monotonic clock, in seconds."""
    arrived: float | None = request.scope.get("state", {}).get("arrived_s")
    return time.monotonic() if arrived is None else arrived
