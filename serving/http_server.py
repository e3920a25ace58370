"""uvicorn in the event loop of the gRPC server, without signal handlers of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette

from serving.errors import StartupError

# For a client that does not read its answer; probes and metrics take milliseconds.
GRACE_PERIOD_S = 2


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the server that owns the process."""
        yield


class HttpServer:
    """Binds its port at once (0 takes a free one, then in `port`); raises `StartupError`."""

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
