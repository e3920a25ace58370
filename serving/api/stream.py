"""A call with a stream of requests and one of responses, whatever they are."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

import grpc

from serving.api.call import Call
from serving.api.messages import MANY_CLASSES
from serving.api.status import CODES, to_serving_error
from serving.errors import ServingError
from serving.lifecycle import unless
from serving.record.record import CANCELLED, OK, Record

PLACES = 32
Message = TypeVar("Message")


class Pending(NamedTuple):
    """A request that was read.

    Attributes:
        places: how many of the stream's places its response takes.
        respond: returns the bytes of the response; raises nothing.
    """

    places: int
    respond: Callable[[], Awaitable[bytes]]


Read = Callable[[bytes, Record | None], Pending]


def answered(response: bytes) -> Pending:
    """Return what is to be done for a request that has its response already."""

    async def respond() -> bytes:
        return response

    return Pending(1, respond)


class Stream:
    """Requests of one caller, each answered when it is ready.

    Args:
        call: the call.
        closing: set when the server accepts no more requests.
        read: returns what is to be done for a request; raises nothing.
    """

    def __init__(self, call: Call, closing: asyncio.Event, read: Read) -> None:
        self._call, self._closing, self._read = call, closing, read
        self._places = asyncio.Semaphore(PLACES)
        self._writing = asyncio.Lock()

    async def serve(self, messages: AsyncIterator[bytes]) -> None:
        """Answer all requests; read on only while few are in flight, until the server closes."""
        async with (
            aclosing(messages_until(self._closing, messages)) as received,
            asyncio.TaskGroup() as answers,
        ):
            async for message in received:
                with self._recorded(message) as record:
                    pending = self._read(message, record)
                    for _ in range(pending.places):  # those before it must leave room for its own
                        await self._places.acquire()
                    answer = answers.create_task(self._answer(*pending, record))
                if record:
                    # Not in the task: one that is cancelled before it starts does nothing.
                    answer.add_done_callback(partial(_close, record))
                del message, pending, answer  # large, perhaps, and the next may be long in coming
            is_cut_off = self._closing.is_set()
        if is_cut_off:
            # There may be requests that were sent and not read: OK would claim that all have
            # their answers.
            await self._call.abort(grpc.StatusCode.UNAVAILABLE, "the server is draining")

    @contextmanager
    def _recorded(self, message: bytes) -> Iterator[Record | None]:
        """Yield the record of a request, if anybody wants one; close it if the stream ends."""
        stream = self._call.record
        record = stream.message(time.monotonic(), len(message)) if stream else None
        try:
            yield record
        except BaseException:
            if record:
                _close(record)
            raise

    async def _answer(
        self, places: int, respond: Callable[[], Awaitable[bytes]], record: Record | None
    ) -> None:
        answering = respond()
        del respond  # it holds the request, which may be larger than what becomes of it
        response = await answering
        async with self._writing:
            await self._call.write(response)
        if record:
            record.end(OK)
        for _ in range(places):
            self._places.release()


def _close(record: Record, _task: object = None) -> None:
    """Close the record of a request; if it has not ended, the stream has."""
    record.end(CANCELLED, "the stream has ended before the answer")
    record.close()


def told(error: Exception, call: Call, record: Record | None) -> ServingError:
    """Return the error that a response holds, and note it in the record of its request."""
    visible = to_serving_error(error, record.request_id if record else call.request_id)
    if record:
        record.end(CODES[type(visible)].grpc.name, str(visible))
    return visible


def places(classes: int) -> int:
    """Return how many of a stream's places a response of so many classes takes.

    A large one takes all. So a stream that is not read holds no more than one large answer, or a
    few small ones.
    """
    return min(1 + classes // MANY_CLASSES, PLACES)


async def messages_until(
    stop: asyncio.Event, messages: AsyncIterator[Message]
) -> AsyncGenerator[Message, None]:
    """Yield messages until they end or `stop` is set."""

    async def read() -> Message | None:
        return await anext(messages, None)

    while (message := await unless(stop, read())) is not None:
        yield message
