"""uvicorn on the HTTP port, in the event loop of the gRPC server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import uvicorn

from serving.http.access import Doors
from serving.http.connection import HttpConnection
from serving.http.cors import Cors
from serving.http.handshake import Handshake, Tls
from serving.http.recording import Recorded
from serving.http.traffic import Connection, HttpBounds, Traffic
from serving.lifecycle import background
from serving.listener import listen
from serving.record.recorder import Recorder

# For a client that does not read its answer at the end.
GRACE_PERIOD_S = 2


class HttpServer:
    """Binds its port at once (0 takes a free one, then in `port`).

    Args:
        app: the ASGI application.
        host: address to listen on.
        port: its port.
        bounds: what clients may take.
        doors: who may ask for what; None: nobody is asked who they are.
        tls: what connections are shown; None: without TLS.
        recorder: begins the records of requests; None if nobody wants any.
        cors: which pages in browsers may call; None: none.

    Raises:
        StartupError: it cannot bind.
    """

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        bounds: HttpBounds | None = None,
        doors: Doors | None = None,
        tls: Tls | None = None,
        recorder: Recorder | None = None,
        cors: Cors | None = None,
    ) -> None:
        self.app = app
        self._listener = listen(host, port, "HTTP", "--http-port")
        # Connections inherit it. An answer is written in two parts, and the second would wait for
        # the client's acknowledgement of the first, 40 ms.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._listener.getsockname()[1]
        self.traffic = Traffic(bounds or HttpBounds(), set())
        self._doors, self._tls = doors, tls
        self._recorder, self._cors = recorder, cors
        app = cors.around(app) if cors else app
        config = uvicorn.Config(
            Recorded(app, recorder) if recorder else app,
            http=cast("type[HttpConnection]", self._connection),
            interface="asgi3",
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(self.traffic.bounds.idle_s),
            timeout_graceful_shutdown=GRACE_PERIOD_S,
        )
        self._server = _Uvicorn(config)
        self.traffic.connections = cast("set[Connection]", self._server.server_state.connections)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Answer while the context is open."""
        task = asyncio.create_task(self._server.serve([self._listener]))
        watch = background(self.traffic.watch())
        try:
            yield
        finally:
            self._server.should_exit = True
            await task
            watch.cancel()
            self._listener.close()

    def _connection(self, **uvicorn: Any) -> HttpConnection | Handshake:
        http = HttpConnection(self.traffic, self._doors, self._recorder, self._cors, **uvicorn)
        return Handshake(self.traffic, self._tls, http) if self._tls else http

    async def drain(self, grace_s: float) -> None:
        """Let connections close with their next answer; return when none is being worked on."""
        self.traffic.closing = True
        if tasks := [*self._server.server_state.tasks]:
            await asyncio.wait(tasks, timeout=grace_s)


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the server that owns the process."""
        yield
