"""The ids of HTTP's requests, and their records."""

import time
from collections.abc import Iterable

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.record import ids
from serving.record.record import Record
from serving.record.recorder import Recorder

NAME = ids.HEADER.encode()
# What nginx writes of a client that did not wait; no answer has it.
CLIENT_LEFT = "499"


class Recorded:
    """An application whose requests are recorded.

    Args:
        app: the application.
        recorder: begins the records.
    """

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self._app, self._recorder = app, recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        record = begin(self._recorder, scope)
        if not record:
            await self._app(scope, receive, send)
            return
        scope["state"]["record"] = record

        async def received() -> Message:
            message = await receive()
            record.nbytes += len(message.get("body", b""))
            return message

        async def sent(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                record.end(str(message["status"]), record.error)

        try:
            await self._app(scope, received, sent)
        finally:
            record.end(CLIENT_LEFT, "the client has left")
            record.close()


def begin(recorder: Recorder, scope: Scope) -> Record | None:
    """Return the record of a request, None if nobody wants one."""
    state = scope["state"]
    headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]]
    method = f"{scope.get('method', '-')} {scope.get('path', '-')}"
    arrived_s = state.get("arrived_s", time.monotonic())
    record = recorder.begin(state["request_id"], method, headers, arrived_s)
    if record:
        record.peer = scope["client"][0] if scope.get("client") else ""
        known = state["identity"].name if "identity" in state else ""
        record.caller = known or state.get("refused", "")
    return record


def id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the id of a request with these headers: its own, or ours."""
    stated = [(ids.HEADER, value.decode("latin-1")) for name, value in headers if name == NAME]
    return ids.request_id(stated)


def request_id(request: Request) -> str:
    """Return the id of a request: its caller's, or ours."""
    found: str = request.scope["state"]["request_id"]
    return found


def record_of(request: Request) -> Record | None:
    """Return the record of a request, None if nobody wants one."""
    record: Record | None = request.scope["state"].get("record")
    return record


def note_error(scope: Scope, error: Exception) -> None:
    """Note in the record of a request, if there is one, what its caller is told."""
    if record := record_of(Request(scope)):
        record.error = getattr(error, "detail", "") or str(error)
