"""One call: its operations on gRPC's completion queue, and the task that answers it."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Never, Protocol

import grpc
from grpc._cython import cygrpc

logger = logging.getLogger(__name__)

Settled = tuple["RpcCall | None", tuple[()]]
NOTHING: Settled = (None, ())
# What gRPC gives as the deadline of a call that has none, in seconds since 1970, is beyond this.
NEVER_S = 2.0**62
Tag = Callable[[Any], Settled]
Metadata = Sequence[tuple[str, str]]


class Method(Protocol):
    """How calls of a method are answered, and what its messages are."""

    reads_stream: bool

    def admits(self, call: "RpcCall") -> bool:
        """Whether to read the request, on gRPC's thread; else the call has been ended."""

    def parse(self, message: bytes) -> Any:
        """Return a request."""

    def serialize(self, response: Any) -> bytes:
        """Return the bytes of a response."""

    def receive(self, call: "RpcCall", request: bytes | None) -> None:
        """Begin to answer, on gRPC's thread; raise nothing.

        The request is None where requests are a stream, or where the only one did not come.
        """


class AbortedError(Exception):
    """The call has its status; ends the handler."""


class RpcCall:
    """What a servicer is given as its context: the part of grpc.aio's that servicers here need.

    The methods whose last argument is an event are tags: gRPC's thread calls them when an
    operation ends, and `begin`. `run`, `post`, `finish` and `fail` may be called on any thread, the
    others on the event loop. Once gRPC's thread knows the call as over, its queue may be gone: no
    operation starts any more.

    Args:
        event: gRPC's, of the call's arrival.
        loop: where the method runs.
        method: answers the call.
        wake: has gRPC's thread look at once at what is posted.

    Attributes:
        request_bytes: size of the request as it came; 0 where requests are a stream.
        on_leave: called on gRPC's thread when the caller leaves, unless None.
    """

    __slots__ = (
        "_call", "_deadline", "_due", "_has_ended", "_is_watched", "_lock", "_loop",
        "_metadata_sent", "_method", "_task", "_wake", "on_leave", "request_bytes",
    )  # fmt: skip

    def __init__(
        self,
        event: Any,
        loop: asyncio.AbstractEventLoop,
        method: Method,
        wake: Callable[[], None],
    ) -> None:
        self._call, self._deadline = event.call, event.call_details.deadline
        self._loop, self._method, self._wake = loop, method, wake
        self._lock = threading.Lock()
        self._due = 1  # operations; the first is the end of the call
        self._has_ended = self._is_watched = self._metadata_sent = False
        self._task: asyncio.Task[None] | None = None
        self.request_bytes = 0
        self.on_leave: Callable[[], None] | None = None

    def begin(self) -> None:
        """Await the end of the call, and its request; on gRPC's thread."""
        if self._method.reads_stream:
            self._watch()
            self._method.receive(self, None)
        elif self._method.admits(self):
            self._watch()
            self._start(self._arrived, cygrpc.ReceiveMessageOperation(0))

    def time_remaining(self) -> float | None:
        """Return the seconds until the caller's deadline, None where there is none."""
        return None if self._deadline > NEVER_S else max(self._deadline - time.time(), 0.0)

    async def requests(self) -> AsyncIterator[Any]:
        """Read a stream of requests to its end."""
        while (message := await self._read()) is not None:
            yield self._method.parse(message)

    async def write(self, response: Any) -> None:
        """Send a response of a stream; return when the next may follow.

        Raises CancelledError where the call has its status, or the caller has left.
        """
        written: asyncio.Future[None] = self._loop.create_future()
        self._send(partial(self._wrote, written), self._message(response))
        await written

    def finish(self, *responses: Any) -> None:
        """End the call well, with its only response where it has one, unless it has ended."""
        messages = [self._message(response) for response in responses]
        self._end(*messages, _status(grpc.StatusCode.OK, "", ()))

    def fail(self, code: grpc.StatusCode, details: str, metadata: Metadata = ()) -> None:
        """End the call with an error, unless it has ended."""
        self._end(_status(code, details, metadata))

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> Never:
        """End the call with an error, and its handler."""
        self.fail(code, details, trailing_metadata)
        raise AbortedError

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine on the event loop; it is cancelled when the caller leaves."""
        self._watch()
        self._tell(self._run, work)

    def post(self, work: Callable[[], None]) -> bool:
        """Have something done on gRPC's thread; return False where the call has ended.

        gRPC reports the end of an operation that consists of none, which wakes its thread.
        """
        try:
            self._start(partial(self._posted, work))
        except asyncio.CancelledError:
            return False
        self._wake()
        return True

    def _watch(self) -> None:
        """Await the end of the call, unless that is done."""
        with self._lock:
            if not self._is_watched:
                self._is_watched = True
                close = cygrpc.ReceiveCloseOnServerOperation(0)
                self._call.start_server_batch((close,), self._closed)

    def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self._has_ended:
            self._task = self._loop.create_task(work())

    def _leave(self) -> None:
        with self._lock:
            self._has_ended = True
        if self._task:
            self._task.cancel()
            self._task = None  # else its CancelledError, whose frames hold the call, holds both

    async def _read(self) -> bytes | None:
        message: asyncio.Future[bytes | None] = self._loop.create_future()
        then = partial(_set, message)
        self._start(partial(self._received, then), cygrpc.ReceiveMessageOperation(0))
        return await message

    def _message(self, response: Any) -> object:
        return cygrpc.SendMessageOperation(self._method.serialize(response), 0)

    def _end(self, *operations: object) -> None:
        with suppress(asyncio.CancelledError):  # it has ended, or its caller has left
            self._send(self._ended, *operations, is_last=True)

    def _send(self, tag: Tag, *operations: object, is_last: bool = False) -> None:
        with self._lock:
            if not self._metadata_sent:
                operations = (cygrpc.SendInitialMetadataOperation((), 0), *operations)
            if not self._is_watched:  # it is refused at once: its end and its status in one event
                operations = (cygrpc.ReceiveCloseOnServerOperation(0), *operations)
            self._start_locked(tag, operations)
            self._due -= not self._is_watched
            self._metadata_sent, self._has_ended, self._is_watched = True, is_last, True

    def _start(self, tag: Tag, *operations: object) -> None:
        with self._lock:
            self._start_locked(tag, operations)

    def _start_locked(self, tag: Tag, operations: tuple[object, ...]) -> None:
        if self._has_ended or not self._due:
            raise asyncio.CancelledError
        if error := self._call.start_server_batch(operations, tag):
            raise RuntimeError(f"gRPC refuses an operation of a call: error {error}")
        self._due += 1

    def _arrived(self, event: Any) -> Settled:
        request = event.batch_operations[0].message()
        self.request_bytes = len(request or b"")
        self._method.receive(self, request)
        return self._settle()

    def _received(self, then: Callable[[bytes | None], None], event: Any) -> Settled:
        self._tell(then, event.batch_operations[0].message())
        return self._settle()

    def _wrote(self, written: "asyncio.Future[None]", _event: Any) -> Settled:
        self._tell(_set, written, None)
        return self._settle()

    def _posted(self, work: Callable[[], None], _event: Any) -> Settled:
        try:
            work()
        except Exception:
            logger.exception("what was handed over to gRPC's thread failed")
        return self._settle()

    def _ended(self, _event: Any) -> Settled:
        return self._settle()

    def _closed(self, event: Any) -> Settled:
        if event.batch_operations[0].cancelled():
            if self.on_leave:
                self.on_leave()
            self._tell(self._leave)
        return self._settle()

    def _tell(self, do: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(do, *arguments)
        except RuntimeError:  # the loop is closed; what is raised here would end gRPC's thread
            self._call.cancel(cygrpc.StatusCode.unavailable, "the server's event loop is closed")

    def _settle(self) -> Settled:
        """Return the call where nothing is due any more."""
        with self._lock:
            self._due -= 1
            return NOTHING if self._due else (self, ())


def _status(code: grpc.StatusCode, details: str, metadata: Metadata) -> object:
    number: int = code.value[0]
    # What a handler raises may hold the name of a file that is no valid text.
    text = details.encode(errors="backslashreplace")
    return cygrpc.SendStatusFromServerOperation(tuple(metadata), number, text, 0)


def _set(future: "asyncio.Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_result(result)
