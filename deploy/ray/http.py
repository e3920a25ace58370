"""The HTTP application behind Ray's proxy, which bounds nothing and says less than our port."""

import time
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.recording import id_of


class HttpDoor:
    """Gives the application what the server's own connections give it.

    Args:
        app: the application.
        most_bytes: of a body.
    """

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app, self._most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; agree to start and to stop, and to no WebSocket."""
        if scope["type"] == "lifespan":
            for what in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{what}.complete"})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            scope["state"] = {"arrived_s": time.monotonic(), "request_id": id_of(scope["headers"])}
            await self._app(scope, self._bounded(receive), send)

    def _bounded(self, receive: Receive) -> Receive:
        """Return what reads a body, and raises an HTTPException when that is too large."""
        nbytes = 0

        async def received() -> Message:
            nonlocal nbytes
            message = await receive()
            nbytes += len(message.get("body", b""))
            if nbytes > self._most_bytes:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"the body has more than {self._most_bytes} bytes, which are allowed "
                    f"(max_message_bytes)",
                )
            return message

        return received
