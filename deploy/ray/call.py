"""A call through Ray's gRPC proxy, as the services of `serving.api` know calls."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Never

import grpc

from clients.ray_proxy import PUSHBACK, TIMEOUT
from serving.access.identity import Identity
from serving.api.call import Metadata
from serving.api.status import failure
from serving.errors import InvalidRequestError
from serving.record.ids import HEADER, request_id
from serving.record.record import Record
from serving.settings.types import DAY_S

# Our client tries INTERNAL again, because Ray has no other code for a replica that has died. It
# must not if it is ours: the same would happen again.
NO_RETRY = ((PUSHBACK, "-1"),)

Work = Callable[["RayCall"], Awaitable[None]]


class CallError(Exception):
    """Ends a stream; the context of the call has its code."""


class AbortedError(Exception):
    """The call has its status; ends the handler."""


class RayCall:
    """One call, on the event loop of a replica; see `serving.api.call.Call`.

    Args:
        context: Ray's, which goes back to the proxy with the answer.
    """

    def __init__(self, context: Any) -> None:
        self.arrived_s = time.monotonic()
        self._context, self._loop = context, asyncio.get_running_loop()
        self.request_id = request_id(context.invocation_metadata())
        self.deadline_s: float | None = None
        self.identity: Identity | None = None
        self.record: Record | None = None
        self.on_leave: Callable[[], None] | None = None
        self._answer: asyncio.Future[Any] = self._loop.create_future()
        self._written: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        self._task: asyncio.Task[None] | None = None

    @property
    def caller(self) -> str:
        """The address of the caller, as the proxy sees it, without its port."""
        peer: str = self._context.peer()
        return peer.partition(":")[2].rpartition(":")[0]

    async def answer(self, work: Work) -> Any:
        """Do the work of a call; return the response, or None if the call fails.

        The context says how: an exception would reach the caller without its trailing metadata,
        and Ray would log it.
        """
        try:
            await self._do(work)
            return await self._answer
        except asyncio.CancelledError:  # the caller has left, perhaps at its deadline
            self._leave()
            raise

    async def answers(self, work: Work) -> AsyncIterator[Any]:
        """Do the work of a stream; yield what it writes. Raises `CallError` if the call fails."""

        async def run() -> None:
            await self._do(work)
            await self._written.put(None)

        self._start(run())
        try:
            while (response := await self._written.get()) is not None:
                yield response
            if self._context.code():
                raise CallError(self._context.details())
        finally:
            self._leave()

    async def write(self, response: Any) -> None:
        """Send a response of a stream; return when the next may follow."""
        await self._written.put(response)

    def finish(self, *responses: Any) -> None:
        """End the call with OK and its only response, if it has one, unless it has ended."""
        self.post(partial(self._end, *responses))

    def fail(self, code: grpc.StatusCode, details: str, metadata: Metadata = ()) -> None:
        """End the call with an error, unless it has ended."""
        self.post(partial(self._refuse, code, details, metadata))

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> Never:
        """End the call with an error, and its handler."""
        self._refuse(code, details, trailing_metadata)
        raise AbortedError

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine on the event loop; it is cancelled when the caller leaves."""
        self.post(lambda: self._start(work()))

    def post(self, work: Callable[[], None]) -> bool:
        """Have `work` done on the event loop; return False if that is closed."""
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:  # the replica has ended, and nobody waits any more
            return False
        return True

    async def _do(self, work: Work) -> None:
        try:
            timeout_s = stated_timeout_s(self._context.invocation_metadata())
            if timeout_s is not None:
                self.deadline_s = self.arrived_s + timeout_s
            await work(self)
        except AbortedError:
            pass
        except Exception as error:  # noqa: BLE001 - the call ends with it
            self._refuse(*failure(error, self.request_id))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(work)

    def _end(self, response: Any = None) -> None:
        if not self._answer.done():
            self._context.set_trailing_metadata([(HEADER, self.request_id)])
            self._answer.set_result(response)

    def _refuse(self, code: grpc.StatusCode, details: str, metadata: Metadata) -> None:
        if not self._answer.done():
            retry = NO_RETRY if code is grpc.StatusCode.INTERNAL else ()
            self._context.set_code(code)
            self._context.set_details(details)
            self._context.set_trailing_metadata([*metadata, *retry, (HEADER, self.request_id)])
            self._answer.set_result(None)

    def _leave(self) -> None:
        if self.on_leave:
            self.on_leave()
        if self._task:
            self._task.cancel()


def stated_timeout_s(headers: Sequence[tuple[str, str]]) -> float | None:
    """Return how long a caller waits from the arrival of its call, if its metadata says so.

    Raises:
        InvalidRequestError: it is no number of milliseconds.
    """
    stated = next((value for name, value in headers if name == TIMEOUT), None)
    if stated is None:
        return None
    if not (stated.isascii() and stated.isdecimal() and 0 < int(stated[:9]) <= DAY_S * 1000):
        raise InvalidRequestError(
            f"the metadata `{TIMEOUT}` must be milliseconds, from 1 to {DAY_S * 1000}, "
            f"not {stated[:64]!r}"
        )
    return int(stated) / 1000
