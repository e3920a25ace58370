"""What all requests of images share over HTTP: the model, the deadline, and the body."""

import time
from typing import Annotated

from pydantic import BaseModel, Field
from starlette.requests import Request

from serving.access.identity import Identity
from serving.api.requests import Requests
from serving.engine.model import Model
from serving.errors import UnavailableError
from serving.http.bodies import Turns, read_body
from serving.http.openapi import Schema
from serving.http.recording import request_id
from serving.settings.types import DAY_S

# What may wait for one thread, in bodies of the largest size.
MOST_WAITING = 8

Name = Annotated[str, Field(max_length=1024)]


def never_null(schema: Schema) -> None:
    """Say of a header that may be left out that it is never null, which no header can be."""
    schema |= schema.pop("anyOf")[0]


class TimeoutHeader(BaseModel):
    """The header that states a deadline."""

    x_request_timeout_ms: int | None = Field(
        None,
        ge=1,
        le=1000 * DAY_S,
        json_schema_extra=never_null,
        description="time until the answer is of no more use, from the arrival of the request, in "
        "milliseconds; unset: --default-timeout-ms",
    )


class Calls:
    """Finds what a request of images asks for.

    Args:
        requests: what requests may ask for.
        max_body_bytes: size of the largest body, as it comes and inflated.

    Attributes:
        inflating, dividing, parsing: the turns of what is compressed, of forms, and of JSON.
    """

    def __init__(self, requests: Requests, max_body_bytes: int) -> None:
        self.requests, self._max_body_bytes = requests, max_body_bytes
        self.inflating, self.dividing, self.parsing = self.turns(), self.turns(), self.turns()

    def turns(self) -> Turns:
        """Return turns for bodies of one more kind."""
        return Turns(MOST_WAITING * self._max_body_bytes)

    def model(self, name: str, version: str, request: Request) -> Model:
        """Return the model that a request asks for; see `ModelRepository.get`.

        Raises:
            UnavailableError: nothing is loaded yet, or the server accepts no more requests.
            ModelNotFoundError: there is no such name or version.
            InvalidRequestError: no name is given, and there are several.
        """
        self.check_open()
        return self.requests.repository.get(name, version, request_id(request))

    def check_open(self) -> None:
        """Raise `UnavailableError` if the server accepts no more requests."""
        if self.requests.readiness.closing.is_set():
            raise UnavailableError("the server is draining; try another")

    def deadline(
        self, request: Request, header: TimeoutHeader, timeout_us: int | None = None
    ) -> float:
        """Return when a request must be answered, on the monotonic clock, in seconds.

        That is after the time in its header, or in its body (`timeout_us`), whichever is less.
        """
        since_s, timeout_ms = arrived_s(request), header.x_request_timeout_ms
        deadline_s = None if timeout_ms is None else since_s + timeout_ms / 1000
        return self.requests.deadline(since_s, deadline_s, timeout_us)

    async def body(self, request: Request) -> bytes:
        """Return the body of a request, inflated; see `read_body`."""
        return await read_body(request, self._max_body_bytes, self.inflating)


def caller_of(request: Request) -> str:
    """Return whose request it is, as far as anybody knows: a name, or else an address."""
    identity: Identity | None = request.scope.get("state", {}).get("identity")
    if identity:
        return identity.name
    return request.client.host if request.client else ""


def arrived_s(request: Request) -> float:
    """Return when the first byte of a request came, on the monotonic clock, in seconds."""
    arrived: float | None = request.scope.get("state", {}).get("arrived_s")
    return time.monotonic() if arrived is None else arrived
