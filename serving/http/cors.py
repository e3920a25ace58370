"""What browsers are told, so that they let pages of other origins call (CORS)."""

from collections.abc import Iterable, Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware

METHODS = "DELETE", "GET", "HEAD", "POST", "PUT"
# Headers that callers may send, and that they may read, besides those that are always allowed.
SENT = (
    "authorization", "content-encoding", "inference-header-content-length", "traceparent",
    "tracestate", "x-request-id", "x-request-timeout-ms",
)  # fmt: skip
READ = "inference-header-content-length", "retry-after", "www-authenticate", "x-request-id"


class Cors:
    """Allows some origins, or all; no cookies, so that a page sends what it knows itself.

    Args:
        origins: as browsers send them; `*` for all.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = origins

    def around(self, app: Any) -> CORSMiddleware:
        """Return an application that answers browsers' questions, and marks its other answers."""
        return CORSMiddleware(
            app,
            allow_origins=self._origins,
            allow_methods=METHODS,
            allow_headers=SENT,
            expose_headers=READ,
        )

    def marks(self, request: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return the headers of an answer to a request that reaches no application."""
        origin = Headers(raw=[*request]).get("origin")
        if origin is None or not {"*", origin}.intersection(self._origins):
            return []
        allowed = b"*" if "*" in self._origins else origin.encode("latin-1")
        exposed = (b"access-control-expose-headers", ", ".join(READ).encode())
        return [(b"access-control-allow-origin", allowed), exposed, (b"vary", b"Origin")]
