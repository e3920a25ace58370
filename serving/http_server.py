"""HTTP for operators: /metrics, /healthz and /readyz, in the event loop of the gRPC server."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.api.status import CODES
from serving.engine.repository import ModelRepository
from serving.errors import ServingError
from serving.http_connection import HttpConnection
from serving.lifecycle import Readiness
from serving.listener import listen

# For a client that does not read its answer; probes and metrics take milliseconds.
GRACE_PERIOD_S = 2
# How often the metrics are rendered, in each format; it takes milliseconds of Python's lock.
RENDERINGS_PER_S = 5
# The longest headers of a request, in bytes.
LONGEST_HEADERS = 16 * 2**10


def create_app(
    registry: CollectorRegistry, readiness: Readiness, repository: ModelRepository
) -> Starlette:
    """Return the application: /metrics, /healthz (the process lives), /readyz (a model answers)."""
    text = Page(partial(generate_latest, registry), CONTENT_TYPE_LATEST)
    openmetrics_text = Page(
        partial(openmetrics.generate_latest, registry), openmetrics.CONTENT_TYPE_LATEST
    )

    async def metrics(request: Request) -> Response:
        asked = "application/openmetrics-text" in request.headers.get("accept", "")
        page = openmetrics_text if asked else text
        return Response(page.content(), media_type=page.media_type)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"alive": True})

    async def readyz(_: Request) -> Response:
        readiness.check()
        models = repository.ready()
        ready = any(models.values())
        return JSONResponse({"ready": ready, "models": models}, 200 if ready else 503)

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
        ],
        exception_handlers={ServingError: _to_response},
    )


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


class HttpServer:
    """uvicorn; binds its port at once (0 takes a free one, then in `port`).

    Raises `StartupError` if it cannot bind.
    """

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        self._listener = listen(host, port, "HTTP", "--http-port")
        self.port: int = self._listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=HttpConnection,
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            log_level="warning",
            headers=[("connection", "close")],  # see HttpConnection
            h11_max_incomplete_event_size=LONGEST_HEADERS,
            timeout_graceful_shutdown=GRACE_PERIOD_S,
        )
        self._server = _Uvicorn(config)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Answer while the context is open."""
        task = asyncio.create_task(self._server.serve([self._listener]))
        try:
            yield
        finally:
            self._server.should_exit = True
            await task
            self._listener.close()


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the server that owns the process."""
        yield


async def _to_response(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServingError)
    return JSONResponse({"error": str(error)}, CODES[type(error)].http)
