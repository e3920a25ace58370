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

from serving.access.identity import Identity
from serving.record.ids import HEADER, request_id
from serving.record.record import Record
from serving.record.recorder import Recorder
from serving.rpc import private_grpc
from serving.rpc.private_grpc import NOT_OVER, Over, Tag
from serving.rpc.transfers import Transfers

logger = logging.getLogger(__name__)

Metadata = Sequence[tuple[str, str]]


class Method(Protocol):
    """How calls of a method are answered, and what its messages are."""

    path: str
    reads_stream: bool
    writes_stream: bool

    def parse(self, message: bytes) -> Any:  # any thread
        """Return a request."""

    def serialize(self, response: Any) -> bytes:  # any thread
        """Return the bytes of a response."""

    def receive(self, call: "RpcCall", request: bytes | None) -> None:  # gRPC's thread
        """Begin to answer; raise nothing.

        The request is None if requests are a stream, or if the only one did not arrive.
        """


class Host(Protocol):
    """What the calls of a server share: its event loop, and its bounds."""

    loop: asyncio.AbstractEventLoop
    most_bytes: int  # of a message
    receptions: Transfers
    answers: Transfers
    recorder: Recorder | None

    def carried(self, nbytes: int) -> None:  # gRPC's thread
        """Note that a message has come, gone or been given up."""

    def over(self, call: "RpcCall") -> None:  # gRPC's thread
        """Note that no operation of a call is left."""


class AbortedError(Exception):
    """The call has its status; ends the handler."""


class RpcCall:
    """The context of a servicer's method: as much of grpc.aio's as the servicers here need.

    Each method is marked with the thread that calls it: gRPC's, the event loop's, or any. Those
    that take an event are tags, see `private_grpc`. No operation starts after the last one has
    ended: gRPC's queue may be gone by then.

    Args:
        event: gRPC's, of the call's arrival.
        host: what the call shares with others.
        method: answers the call.

    Attributes:
        arrived_s: when its headers came, on the monotonic clock, in seconds.
        deadline_s: the caller's deadline on that clock, None if there is none.
        active_s: when a message of it last came or went, on that clock.
        identity: who calls, None if nobody was asked.
        on_leave: called on gRPC's thread when the caller leaves, unless None.
        request_id: the caller's, or ours.
        record: what becomes of the call; None if nobody wants to know.
    """

    __slots__ = (
        "_awaits_close", "_call", "_due", "_has_ended", "_host", "_is_over", "_lock", "_loop",
        "_metadata_sent", "_method", "_task", "active_s", "arrived_s", "deadline_s", "identity",
        "on_leave", "record", "request_id",
    )  # fmt: skip

    def __init__(self, event: Any, host: Host, method: Method) -> None:
        self._call, self._host, self._loop, self._method = event.call, host, host.loop, method
        self.arrived_s = self.active_s = time.monotonic()
        self.deadline_s = private_grpc.deadline_s(event, self.arrived_s)
        # Guards the attributes below: operations start on any thread.
        self._lock = threading.Lock()
        self._due = 0  # batches of operations that have not ended
        self._awaits_close = self._metadata_sent = self._has_ended = self._is_over = False
        self._task: asyncio.Task[None] | None = None
        self.identity: Identity | None = None
        self.on_leave: Callable[[], None] | None = None
        headers = private_grpc.headers(event)
        self.request_id, self.record = request_id(headers), None
        if host.recorder:
            self.record = self._recorded(host.recorder, event, headers)

    @property
    def caller(self) -> str:  # any thread
        """Whose call it is, as far as anybody knows: a name, or else an address."""
        return self.identity.name if self.identity else private_grpc.peer(self._call)

    def begin(self) -> None:  # gRPC's thread
        """Wait for the request, or for the end of the call if requests are a stream.

        A caller that leaves before its request has come ends the wait for that. So the wait for its
        leaving begins only then, and never if the call is refused at once.
        """
        if self._method.reads_stream:
            self._await_close()
            self._method.receive(self, None)
        else:
            self._host.receptions.begin(self, self._host.most_bytes)
            self._start(self._arrived, private_grpc.receive_message())

    async def requests(self) -> AsyncIterator[Any]:  # event loop
        """Yield the requests of a stream to its end."""
        while (message := await self._read()) is not None:
            yield self._method.parse(message)

    async def write(self, response: Any) -> None:  # event loop
        """Send a response of a stream; return when the next may follow.

        Raises CancelledError if the call has its status, or the caller has left.
        """
        written: asyncio.Future[None] = self._loop.create_future()
        message = self._method.serialize(response)
        self._send(partial(self._wrote, written), len(message), private_grpc.send_message(message))
        await written

    def finish(self, *responses: Any) -> None:  # any thread
        """End the call with OK and its only response, if it has one, unless it has ended."""
        code = grpc.StatusCode.OK
        status = self._status(code, "")
        if responses:
            message = self._method.serialize(*responses)
            self._end(code, "", len(message), private_grpc.send_message(message), status)
        else:
            self._end(code, "", 0, status)

    def fail(  # any thread
        self, code: grpc.StatusCode, details: str, metadata: Metadata = ()
    ) -> None:
        """End the call with an error, unless it has ended."""
        self._end(code, details, 0, self._status(code, details, metadata))

    async def abort(  # event loop
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> Never:
        """End the call with an error, and its handler."""
        self.fail(code, details, trailing_metadata)
        raise AbortedError

    def cut_off(self, code: grpc.StatusCode, details: str) -> None:  # any thread
        """End the call whatever is on its way, which is lost, even if the caller reads nothing."""
        if self.record:
            self.record.end(code.name, details)
        private_grpc.cancel(self._call, code, details)

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:  # any thread
        """Run a coroutine on the event loop; it is cancelled when the caller leaves."""
        self._call_on_loop(self._run, work)

    def post(self, work: Callable[[], None]) -> bool:  # any thread
        """Have `work` done on gRPC's thread; return False if the call has ended.

        Work reaches gRPC's thread only through its queue, as the event of a call. Any call will do:
        the answers of a whole batch are posted once, through the call of one of its images.
        """
        try:
            self._start(partial(self._posted, work))
        except asyncio.CancelledError:
            return False
        return True

    def _recorded(
        self, recorder: Recorder, event: Any, headers: Metadata
    ) -> Record | None:  # gRPC's thread
        record = recorder.begin(self.request_id, self._method.path, headers, self.arrived_s)
        if record:
            record.peer, record.deadline_s = private_grpc.peer(event.call), self.deadline_s
            record.is_stream = self._method.reads_stream
        return record

    def _await_close(self) -> None:  # gRPC's thread
        with self._lock:
            if not self._has_ended:  # else its last operations include this one
                self._awaits_close = True
                self._start_locked(self._closed, (private_grpc.receive_close(),))

    def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:  # event loop
        if not self._has_ended:
            self._task = self._loop.create_task(work())

    def _leave(self) -> None:  # event loop
        with self._lock:
            self._has_ended = True
        if self._task:
            self._task.cancel()
            # The task's CancelledError has frames that hold this call: avoid a reference cycle.
            self._task = None

    async def _read(self) -> bytes | None:  # event loop
        message: asyncio.Future[bytes | None] = self._loop.create_future()
        self._start(partial(self._received, message), private_grpc.receive_message())
        return await message

    def _status(  # any thread
        self, code: grpc.StatusCode, details: str, metadata: Metadata = ()
    ) -> object:
        # The id goes last: an error that began with headers of its own would commit the call, and
        # no client would try it again.
        return private_grpc.send_status(code, details, (*metadata, (HEADER, self.request_id)))

    def _end(  # any thread
        self, code: grpc.StatusCode, details: str, nbytes: int, *operations: object
    ) -> None:
        with suppress(asyncio.CancelledError):  # it has ended, or its caller has left
            self._send(self._sent, nbytes, *operations, last=(code, details))

    def _send(  # any thread
        self,
        tag: Tag,
        nbytes: int,
        *operations: object,
        last: tuple[grpc.StatusCode, str] | None = None,
    ) -> None:
        with self._lock:
            if not self._metadata_sent:
                operations = (private_grpc.send_metadata(), *operations)
            if last and not self._awaits_close:
                operations = (*operations, private_grpc.receive_close())
            self._start_locked(tag, operations)
            self._metadata_sent, self._has_ended = True, last is not None
            if last and self.record:
                code, details = last
                self.record.end(code.name, details)
            # Under the lock, else the end of the operation might come first.
            self._host.answers.begin(self, nbytes)

    def _start(self, tag: Tag, *operations: object) -> None:  # any thread
        with self._lock:
            self._start_locked(tag, operations)

    def _start_locked(self, tag: Tag, operations: tuple[object, ...]) -> None:  # any thread
        if self._has_ended or self._is_over:
            raise asyncio.CancelledError
        private_grpc.start_batch(self._call, operations, tag)
        self._due += 1

    def _arrived(self, event: Any) -> Over:  # gRPC's thread, as all that follow
        self._host.receptions.over(self)
        self._method.receive(self, self._taken(event))
        self._await_close()
        return self._settle()

    def _received(self, message: "asyncio.Future[bytes | None]", event: Any) -> Over:
        self._call_on_loop(_set, message, self._taken(event))
        return self._settle()

    def _taken(self, event: Any) -> bytes | None:
        """Return the message that has come, None if that will never be whole, or none comes."""
        message = private_grpc.message(event)
        self.active_s = time.monotonic()
        if message and self.record:
            self.record.nbytes += len(message)
        self._host.carried(self._host.most_bytes if message is None else len(message))
        return message

    def _wrote(self, written: "asyncio.Future[None]", event: Any) -> Over:
        self.active_s = time.monotonic()
        self._call_on_loop(_set, written, None)
        return self._sent(event)

    def _posted(self, work: Callable[[], None], _event: Any) -> Over:
        try:
            work()
        except Exception:
            logger.exception("work that was posted to gRPC's thread failed")
        return self._settle()

    def _sent(self, _event: Any) -> Over:
        with self._lock:
            nbytes = self._host.answers.over(self)
        self._host.carried(nbytes)
        return self._settle()

    def _closed(self, event: Any) -> Over:
        if private_grpc.has_left(event):
            if self.record:
                self.record.leave(time.monotonic())
            if self.on_leave:
                self.on_leave()
            self._call_on_loop(self._leave)
        return self._settle()

    def _call_on_loop(self, do: Callable[..., None], *arguments: Any) -> None:  # any thread
        try:
            self._loop.call_soon_threadsafe(do, *arguments)
        except RuntimeError:  # the loop is closed; an exception would end gRPC's thread
            self.cut_off(grpc.StatusCode.UNAVAILABLE, "the server's event loop is closed")

    def _settle(self) -> Over:
        """Note that a batch of operations has ended; return whether it was the last."""
        with self._lock:
            self._due -= 1
            self._is_over = not self._due
        return (self, (partial(self._host.over, self),)) if self._is_over else NOT_OVER


def _set(future: "asyncio.Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_result(result)
