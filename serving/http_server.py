"""HTTP for operators: /metrics, /healthz and /readyz, in the event loop of the gRPC server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.api.status import CODES
from serving.engine.repository import ModelRepository
from serving.errors import ServingError, StartupError
from serving.lifecycle import Readiness

# For a client that does not read its answer; probes and metrics take milliseconds.
GRACE_PERIOD_S = 2


def create_app(
    registry: CollectorRegistry, readiness: Readiness, repository: ModelRepository
) -> Starlette:
    """Return the application: /metrics, /healthz (the process lives), /readyz (a model answers)."""

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

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


class HttpServer:
    """uvicorn; binds its port at once (0 takes a free one, then in `port`).

    Raises `StartupError` if it cannot bind.
    """

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        self._listener = _listen(host, port)
        self.port: int = self._listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            log_level="warning",
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


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # As gRPC does: `::` is every interface, those of IPv4 too.
        return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    except OSError as error:
        raise StartupError(
            f"cannot listen on {host}:{port} for HTTP: {error.strerror}; "
            f"choose others with --http-port and --host"
        ) from error
