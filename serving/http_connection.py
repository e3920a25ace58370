"""A connection of an HTTP client, of whom nothing is known: it takes little, and not for long."""

import asyncio
import time

from uvicorn.protocols.http.h11_impl import H11Protocol

# From the connection to the last byte of its answer.
LIFETIME_S = 10.0
MAX_CONNECTIONS = 256


class HttpConnection(H11Protocol):
    """uvicorn's connection, for one request, with bounds that uvicorn does not have.

    One timer bounds the whole of it: slow headers, a body without an end, an answer that is not
    read, a connection that says nothing. The server therefore closes it after its first answer.

    When there are too many, the oldest is closed: a probe is new, and is answered in milliseconds.
    So connections that stay open neither keep probes out nor use up the file descriptors.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, at another's cost if need be."""
        super().connection_made(transport)
        self._began = time.monotonic()
        self._timer = self.loop.call_later(LIFETIME_S, transport.abort)
        if len(self.connections) > MAX_CONNECTIONS:
            oldest = min(self.connections, key=_began)
            self.connections.discard(oldest)  # it will be lost only in the loop's next turn
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._timer.cancel()
        super().connection_lost(exc)


def _began(connection: object) -> float:
    assert isinstance(connection, HttpConnection)
    return connection._began
