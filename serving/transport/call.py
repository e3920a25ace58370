"""One call: its operations on gRPC's completion queue, and the task that answers it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Never, Protocol

import grpc
from grpc._cython import cygrpc

Settled = tuple["Call | None", tuple[()]]
NOTHING: Settled = (None, ())
# What gRPC gives as the deadline of a call that has none, in seconds since 1970, is beyond this.
NEVER_S = 2.0**62
Metadata = Sequence[tuple[str, str]]


class Method(Protocol):
    """How calls of a method are answered, and what its messages are."""

    reads_stream: bool

    def parse(self, message: bytes) -> Any:
        """Return a request."""

    def serialize(self, response: Any) -> bytes:
        """Return the bytes of a response."""

    async def answer(self, call: "Call", request: bytes | None) -> None:
        """Answer a call; None where requests are a stream, or where the only one did not come."""


class AbortedError(Exception):
    """The call has its status; ends the handler."""


class Call:
    """What a servicer is given as its context: the part of grpc.aio's that servicers here need.

    The methods whose argument is an event are tags: gRPC's thread calls them when an operation
    ends. All others but `begin` belong to the event loop.

    Args:
        event: gRPC's, of the call's arrival.
        loop: where the method runs.
        method: answers the call.
    """

    __slots__ = (
        "_call", "_deadline", "_due", "_has_left", "_is_over", "_loop", "_metadata_sent",
        "_method", "_received_by", "_task", "_written",
    )  # fmt: skip

    def __init__(self, event: Any, loop: asyncio.AbstractEventLoop, method: Method) -> None:
        self._call, self._deadline = event.call, event.call_details.deadline
        self._loop, self._method = loop, method
        self._due: set[str] = set()
        self._has_left = self._is_over = self._metadata_sent = False
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Await the end of the call, and its request; on gRPC's thread."""
        self._start("close", self._closed, cygrpc.ReceiveCloseOnServerOperation(0))
        if self._method.reads_stream:
            self._loop.call_soon_threadsafe(self._run, None)
        else:
            self._receive(self._run)

    def time_remaining(self) -> float | None:
        """Return the seconds until the caller's deadline, None where there is none."""
        return None if self._deadline > NEVER_S else max(self._deadline - time.time(), 0.0)

    async def requests(self) -> AsyncIterator[Any]:
        """Read a stream of requests to its end."""
        while (message := await self._read()) is not None:
            yield self._method.parse(message)

    async def write(self, response: Any) -> None:
        """Send a response of a stream; return when the next may follow."""
        self._written = self._loop.create_future()
        self._send("write", self._wrote, self._message(response))
        await self._written

    def finish(self, *responses: Any) -> None:
        """End the call well, with its only response where it has one."""
        messages = [self._message(response) for response in responses]
        self._send("status", self._ended, *messages, _status(grpc.StatusCode.OK, "", ()))

    def fail(self, code: grpc.StatusCode, details: str, metadata: Metadata = ()) -> None:
        """End the call with an error."""
        self._send("status", self._ended, _status(code, details, metadata))

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> Never:
        """End the call with an error, and its handler."""
        self.fail(code, details, trailing_metadata)
        raise AbortedError

    def _run(self, request: bytes | None) -> None:
        if not self._has_left:
            self._task = self._loop.create_task(self._method.answer(self, request))

    def _leave(self) -> None:
        self._has_left = True
        if self._task:
            self._task.cancel()

    async def _read(self) -> bytes | None:
        message: asyncio.Future[bytes | None] = self._loop.create_future()
        self._receive(partial(_set, message))
        return await message

    def _message(self, response: Any) -> object:
        return cygrpc.SendMessageOperation(self._method.serialize(response), 0)

    def _receive(self, then: Callable[[bytes | None], None]) -> None:
        self._received_by = then
        self._start("read", self._received, cygrpc.ReceiveMessageOperation(0))

    def _send(self, name: str, tag: Callable[[Any], Settled], *operations: object) -> None:
        if not self._metadata_sent:
            self._metadata_sent = True
            operations = (cygrpc.SendInitialMetadataOperation((), 0), *operations)
        self._start(name, tag, *operations)

    def _start(self, name: str, tag: Callable[[Any], Settled], *operations: object) -> None:
        self._due.add(name)
        self._call.start_server_batch(operations, tag)

    def _received(self, event: Any) -> Settled:
        message = event.batch_operations[0].message()
        self._loop.call_soon_threadsafe(self._received_by, message)
        return self._settle("read")

    def _wrote(self, _event: Any) -> Settled:
        self._loop.call_soon_threadsafe(_set, self._written, None)
        return self._settle("write")

    def _ended(self, _event: Any) -> Settled:
        return self._settle("status")

    def _closed(self, event: Any) -> Settled:
        if event.batch_operations[0].cancelled():
            self._loop.call_soon_threadsafe(self._leave)
        return self._settle("close")

    def _settle(self, name: str) -> Settled:
        """Return the call where nothing is due any more; once, whatever is sent after its end."""
        self._due.discard(name)
        if self._due or self._is_over:
            return NOTHING
        self._is_over = True
        return self, ()


def _status(code: grpc.StatusCode, details: str, metadata: Metadata) -> object:
    number: int = code.value[0]
    return cygrpc.SendStatusFromServerOperation(tuple(metadata), number, details.encode(), 0)


def _set(future: "asyncio.Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_result(result)
