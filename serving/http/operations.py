"""What operators and their programs look at: /metrics, /healthz, /readyz, /ping."""

import time
from collections import deque
from collections.abc import Callable
from functools import partial

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from starlette.requests import Request
from starlette.responses import Response

from serving.api.requests import Requests
from serving.errors import UnavailableError
from serving.http.errors import JsonResponse
from serving.http.openapi import BOOLEAN, TEXT, object_schema, responses, responses_or_not
from serving.http.routes import DirectRoute

# How often the metrics are rendered, in each format; it takes milliseconds of Python's lock.
RENDERINGS_PER_S = 5

ALIVE = object_schema("Alive", alive=BOOLEAN)
STATES = {"type": "object", "additionalProperties": BOOLEAN}
READY = object_schema("Ready", ready=BOOLEAN, models=STATES)
HEALTHY = object_schema("Healthy", status=TEXT)


class Operations:
    """The state of the server and of its models.

    Args:
        registry: the metrics.
        requests: the state of the server, and its models.
    """

    def __init__(self, registry: CollectorRegistry, requests: Requests) -> None:
        self._readiness, self._repository = requests.readiness, requests.repository
        self._text = Page(partial(generate_latest, registry), CONTENT_TYPE_LATEST)
        self._openmetrics = Page(
            partial(openmetrics.generate_latest, registry), openmetrics.CONTENT_TYPE_LATEST
        )

    def routes(self) -> list[DirectRoute]:
        """Return the routes, with what /openapi.json says of them."""
        text = {"text/plain": {"schema": TEXT}, "application/openmetrics-text": {"schema": TEXT}}
        metrics = {200: {"description": "the metrics", "content": text}}
        return [
            DirectRoute("/healthz", self.healthz, responses=responses(ALIVE)),
            DirectRoute("/readyz", self.readyz, responses=responses_or_not(READY)),
            DirectRoute("/ping", self.ping, responses=responses(HEALTHY, 503)),
            DirectRoute("/metrics", self.metrics, responses=metrics),
        ]

    async def metrics(self, request: Request) -> Response:
        """Metrics of the server and its models, for Prometheus, in either of its formats."""
        asked = "application/openmetrics-text" in request.headers.get("accept", "")
        page = self._openmetrics if asked else self._text
        return Response(page.content(), media_type=page.media_type)

    async def healthz(self, _: Request) -> Response:
        """Whether the process lives."""
        return JsonResponse(b'{"alive":true}')

    async def readyz(self, _: Request) -> Response:
        """Whether a model answers, and which ones do."""
        self._readiness.check()
        models = self._repository.ready()
        ready = any(models.values())
        return JsonResponse(orjson.dumps({"ready": ready, "models": models}), 200 if ready else 503)

    async def ping(self, _: Request) -> Response:
        """Whether a model answers, as TorchServe and SageMaker ask."""
        self._readiness.check()
        if not any(self._repository.ready().values()):
            raise UnavailableError("no model answers at this moment")
        return JsonResponse(b'{"status":"Healthy"}')


class Page:
    """A page that is rendered for each request, but no more than a few times a second.

    A request beyond that gets the last rendering, which is less than a second old.
    """

    def __init__(
        self,
        render: Callable[[], bytes],
        media_type: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.media_type = media_type
        self._render, self._clock = render, clock
        self._rendered = deque[float](maxlen=RENDERINGS_PER_S)
        self._content = b""

    def content(self) -> bytes:
        """Return the page, encoded."""
        now = self._clock()
        if len(self._rendered) < RENDERINGS_PER_S or now - self._rendered[0] >= 1.0:
            self._rendered.append(now)
            self._content = self._render()
        return self._content
