"""A connection of an HTTP client, of whom nothing is known: it takes little, and not for long."""

import asyncio
import logging
import time
from http import HTTPStatus
from typing import Any

import httptools
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from serving.access.peer import http_name
from serving.api.status import CODES
from serving.errors import PermissionDeniedError, UnauthenticatedError
from serving.http.access import Doors, authorization
from serving.http.cors import Cors
from serving.http.errors import error_response
from serving.http.heads import Fault, fault
from serving.http.incoming import HEADER_BYTES, Incoming
from serving.http.recording import begin, id_of
from serving.http.traffic import Phase, Traffic
from serving.record.ids import HEADER
from serving.record.recorder import Recorder

logger = logging.getLogger(__name__)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Headers with which a client offers another protocol.
OFFERS = {b"connection", b"upgrade", b"http2-settings"}


class HttpConnection(HttpToolsProtocol):
    """uvicorn's connection, with bounds that uvicorn does not have.

    The application is called once a request is whole, and gets its body in one piece: a slow client
    costs no task, and a body that comes in one piece is never copied. A request that breaks a bound
    is answered before it is whole, and what still comes is thrown away.

    A client that leaves cancels what answers it.

    It uses names that uvicorn does not promise, and so works with the versions of it that
    `pyproject.toml` allows.

    Args:
        traffic: what all connections share.
        doors: who may ask for what; None: nobody is asked who they are.
        recorder: begins the records of requests; None if nobody wants any.
        cors: which pages may read what is refused; None: none.
        uvicorn: what uvicorn gives a connection.
    """

    def __init__(
        self,
        traffic: Traffic,
        doors: Doors | None,
        recorder: Recorder | None,
        cors: Cors | None,
        **uvicorn: Any,
    ) -> None:
        super().__init__(**uvicorn)
        self._traffic, self._doors = traffic, doors
        self._recorder, self._cors = recorder, cors
        self._wire: asyncio.Transport | None = None  # what carries TLS
        self.phase, self.since_s = Phase.IDLE, time.monotonic()
        self.in_head, self.held = False, 0
        self._incoming = Incoming(traffic.bounds)
        self._is_coming = False
        self._waits = False  # what comes is the next to be answered
        self._is_deaf = False  # nothing that comes is read any more
        self._answered: RequestResponseCycle | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def unread_bytes(self) -> int:
        """What waits to be read by the client."""
        # TLS hands all that it encrypts to what carries it, and then counts nothing.
        below = self._wire.get_write_buffer_size() if self._wire else 0
        return self.transport.get_write_buffer_size() + below

    def begin_encrypted(self, transport: asyncio.Transport, wire: asyncio.Transport) -> None:
        """Begin over TLS, which `wire` carries."""
        self._wire = wire
        self.connection_made(transport)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, at another's cost if need be."""
        super().connection_made(transport)
        self._made_s = time.monotonic()
        self._traffic.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and cancel what answers the client."""
        self._release()
        super().connection_lost(exc)
        if self._answered and self._task and not self._answered.response_complete:
            self._answered.disconnected = True
            self._task.cancel()

    def abort(self) -> None:
        """Close at once."""
        self._release()
        self._is_deaf = True
        self.transport.abort()

    def shutdown(self) -> None:
        """Close as soon as what is being answered is; the server ends."""
        if self._answered:
            self._is_deaf = True
            self._answered.keep_alive = False
            return
        if self.phase is Phase.RECEIVING:
            self._check((HTTPStatus.SERVICE_UNAVAILABLE, "the server ends; try another"))
        self._is_deaf = True
        self.transport.close()

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer the request that comes with an error, and read no more.

        One that came before it and is being answered keeps its answer, which is then the last.
        """
        self._release()
        self.pipeline.clear()
        self._is_deaf = True
        if self._answered:
            self._answered.keep_alive = False
            if self.cycle is not self._answered:
                self.cycle.body = bytearray()  # uvicorn keeps it until the connection ends
        elif not self.transport.is_closing():
            self._say_last(status, message)

    def _say_last(self, status: HTTPStatus, message: str) -> None:
        response = error_response(HTTPException(status, message))
        stated = self.headers if self._is_coming else []
        request_id = id_of(stated)
        if self._recorder:
            self._record_refusal(self._recorder, request_id, status, message)
        marks = self._cors.marks(stated) if self._cors else []
        pairs = [(HEADER.encode(), request_id.encode()), *response.raw_headers, *marks]
        headers = (b": ".join(pair) + b"\r\n" for pair in pairs)
        head = b"".join([STATUS_LINE[status], *headers, b"connection: close\r\n\r\n"])
        self.transport.write(head + bytes(response.body))
        # Closed with bytes that were not read, the connection would be reset, and the client might
        # lose the answer.
        if self.transport.can_write_eof():  # TLS cannot: the head says that it is the last
            self.transport.write_eof()
        self._enter(Phase.LEAVING)

    def _record_refusal(
        self, recorder: Recorder, request_id: str, status: HTTPStatus, message: str
    ) -> None:
        """Record a request that the application never sees, whose head may not be whole."""
        scope: dict[str, Any] = {"client": self.client, "headers": [], "state": {}}
        if self._is_coming:
            scope = {**self.scope}
            if self.url:
                path = self.url.partition(b"?")[0].decode("latin-1")
                scope |= {"method": self.parser.get_method().decode("latin-1"), "path": path}
        scope["state"]["request_id"] = request_id
        if record := begin(recorder, scope):
            record.end(str(status.value), message)
            record.close()

    def data_received(self, data: bytes) -> None:
        """Parse, unless the client was refused."""
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        pieces = self._incoming.pieces
        self._parse(data)
        if self._is_coming and pieces == self._incoming.pieces:
            self._check(self._incoming.quiet(len(data)))
        else:
            self._incoming.heard()

    def _parse(self, data: bytes) -> None:
        while not self._is_deaf:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserError as error:
                if not self._is_deaf:
                    self.logger.warning("what came is not HTTP/1.1: %s", error)
                    self.refuse(HTTPStatus.BAD_REQUEST, f"this is not HTTP/1.1: {error}")
            except httptools.HttpParserUpgrade as upgrade:
                # Java's client offers HTTP/2 like this with each first request. The parser takes
                # what follows the head for that: it gets the head again, without the offer.
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        closes = any(n == b"connection" and b"close" in v.lower() for n, v in self.headers)
        headers = [pair for pair in self.headers if pair[0] not in OFFERS]
        headers += [(b"connection", b"close")] if closes else []
        lines = [b"%s %s HTTP/1.1" % (self.parser.get_method(), self.url)]
        return b"\r\n".join([*lines, *map(b": ".join, headers), b"", b""])

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        if self._is_deaf:
            return
        self.in_head = self._is_coming = True
        self._incoming.begin()
        self.scope["state"]["arrived_s"] = time.monotonic()
        if not self._answered:
            self._enter(Phase.RECEIVING)

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        super().on_url(url)
        self._check(self._incoming.head(len(url)))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header or a trailer."""
        if self.in_head:  # a trailer must not pass for a header, which others have looked at
            super().on_header(name, value)
        self._check(self._incoming.head(len(name) + len(value) + HEADER_BYTES))

    def on_headers_complete(self) -> None:
        """Refuse a request by its head, or wait for its body."""
        self.in_head = False
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._check((HTTPStatus.NOT_IMPLEMENTED, "this server is no proxy"))
            return
        version, most = self.parser.get_http_version(), self._traffic.bounds.body_bytes
        self._check(fault(self.headers, version, most))
        if self._doors and not self._is_deaf:
            self._identify(self._doors)
        if self._is_deaf:
            return
        super().on_headers_complete()
        if len(self.pipeline) > self._traffic.bounds.pipelined:
            self.abort()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if not self._is_deaf:
            self._check(self._incoming.piece(body))
        if self._is_deaf:
            return
        self.held += len(body)
        self._traffic.hold(len(body))

    def on_message_complete(self) -> None:
        """Answer a request that is whole, if it is the next to be answered."""
        if self._is_deaf or self.parser.should_upgrade():
            return
        self._is_coming = False
        # uvicorn hands over `bytes(body)`, which of bytes is no copy.
        self.cycle.body = self._incoming.take()  # type: ignore[assignment]
        super().on_message_complete()
        if self._waits:
            self._waits = False
            self._run(self.cycle)

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        self._answered = None
        self._enter(Phase.RECEIVING if self._is_coming else Phase.IDLE)
        if not self._is_deaf:
            super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ARG002
        """Answer the request whose turn it is, once it is whole."""
        if not cycle.more_body:
            self._run(cycle)
            return
        self._waits = True
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.transport.write(CONTINUE)

    def _run(self, cycle: RequestResponseCycle) -> None:
        self._enter(Phase.WORKING)
        self._answered = cycle
        request_id = id_of(cycle.scope["headers"])
        cycle.scope["state"]["request_id"] = request_id
        cycle.default_headers = [*cycle.default_headers, (HEADER.encode(), request_id.encode())]
        self._release(len(cycle.body))  # it is for the application to bound now
        if self._traffic.is_last(self._made_s):
            cycle.keep_alive = False
        self._task = self.loop.create_task(cycle.run_asgi(self.app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def _identify(self, doors: Doors) -> None:
        """Find out who sends the request, before any of its body is read; refuse it if need be."""
        check = doors.check(self.parser.get_method().decode("ascii"), self.url)
        if not check:
            return
        try:
            identity = check.identify(authorization(self.headers), self._certificate_name)
        except (UnauthenticatedError, PermissionDeniedError) as error:
            host = self.client[0] if self.client else "?"
            logger.warning("%s is refused to %s: %s", check.what, host, error)
            if isinstance(error, PermissionDeniedError):
                self.scope["state"]["refused"] = error.caller
            self.refuse(HTTPStatus(CODES[type(error)].http), str(error))
        else:
            self.scope["state"]["identity"] = identity

    def _certificate_name(self) -> str | None:
        return http_name(self.transport)

    def _enter(self, phase: Phase) -> None:
        self.phase, self.since_s = phase, time.monotonic()

    def _release(self, nbytes: int | None = None) -> None:
        """Note that bytes of bodies are held no more; None: all, and the body that comes."""
        if nbytes is None:
            nbytes = self.held
            self._incoming.take()
        self._traffic.release(nbytes)
        self.held -= nbytes

    def _check(self, found: Fault | None) -> None:
        """Refuse the request if something is wrong with it, unless the client was refused."""
        if found and not self._is_deaf:
            self.refuse(*found)
