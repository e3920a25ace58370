"""The route that tells what the server does, once a second."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.http.calls import Calls
from serving.http.messages import INTEGER, NUMBER
from serving.http.openapi import BOOLEAN, TEXT, Schema, list_schema, object_schema, responses
from serving.http.routes import DirectRoute
from serving.http.watch.sampler import LONGEST_S, MOST_VIEWERS, Sampler
from serving.metrics import BATCH_REASONS, OUTCOMES, REFUSALS
from serving.tallies import STAGES

EVENTS = "text/event-stream"
TIME: Schema = {"type": ["number", "null"]}
QUANTILES = object_schema("WatchedStage", p50_ms=TIME, p99_ms=TIME)
DEVICE = object_schema("WatchedDevice", name=TEXT, ready=BOOLEAN, busy=NUMBER, images=NUMBER)
MODEL = object_schema(
    "WatchedModel",
    name=TEXT,
    version=TEXT,
    images=object_schema("WatchedImages", **dict.fromkeys(OUTCOMES, NUMBER)),
    goodput=NUMBER,
    refusals=object_schema("WatchedRefusals", **dict.fromkeys(REFUSALS, NUMBER)),
    queue=INTEGER,
    background=INTEGER,
    inflight=INTEGER,
    batches=object_schema("WatchedBatches", **dict.fromkeys(BATCH_REASONS, NUMBER)),
    batch_sizes={"type": "object", "additionalProperties": INTEGER},
    stages=object_schema("WatchedStages", **dict.fromkeys(STAGES, QUANTILES)),
    devices=list_schema(DEVICE),
)
SAMPLE = object_schema(
    "WatchSample", time_s=NUMBER, seconds=NUMBER, viewers=INTEGER, models=list_schema(MODEL)
)
# OpenAPI describes an event, not the lines that carry it.
EVENT = object_schema(
    "WatchEvent",
    data=TEXT | {"contentMediaType": "application/json", "contentSchema": SAMPLE},
)


class Watch:
    """The route.

    Args:
        calls: the models, and the server's state.
        registry: gets the number of viewers.
    """

    def __init__(self, calls: Calls, registry: CollectorRegistry) -> None:
        self._calls, requests = calls, calls.requests
        closing = requests.readiness.closing
        self._sampler = Sampler(requests.repository.all, closing, registry)

    def routes(self) -> list[DirectRoute]:
        """Return the route, with what /openapi.json says of it."""
        good = {
            "description": f"server-sent events, for {LONGEST_S:.0f} s; the data of each is a "
            "WatchSample",
            "content": {EVENTS: {"schema": EVENT}},
        }
        full = {"description": f"{MOST_VIEWERS} viewers watch, which is the most"}
        described: dict[str, Any] = {"responses": responses({}, 429, 503) | {200: good}}
        described["responses"][429] |= full
        return [DirectRoute("/v1/watch", self.watch, **described)]

    async def watch(self, request: Request) -> Response:
        """What each model does, once a second: the last 15 minutes as far as somebody watched.

        Numbers of images and batches are per second; `batch_sizes` has the batches since the sample
        before, by their images, and `busy` the share of the time in which a device ran batches. It
        ends after five minutes, or when the server drains; whoever goes on watching asks again.
        """
        self._calls.check_open()
        if self._sampler.is_full:
            raise HTTPException(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{MOST_VIEWERS} viewers watch, which is the most; close one",
                {"retry-after": "1"},
            )
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        if request.scope.get("is_head"):
            head = Response(media_type=EVENTS, headers=headers)
            del head.headers["content-length"]  # it would be 0
            return head
        return EventStream(self._sampler.watch(), headers)


class EventStream(Response):
    """An answer that goes on until its events end, or its client leaves.

    Args:
        events: the events, each ready to be sent.
        headers: of the answer.
    """

    media_type = EVENTS

    def __init__(self, events: AsyncGenerator[bytes], headers: dict[str, str]) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send it; the connection waits for a client that does not read, and cancels at its end."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async with aclosing(self._events):  # else a viewer that leaves would be one until later
            async for piece in self._events:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
