"""Streams that end when the server drains: it would wait for them as long as its grace lasts."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import TypeVar

Message = TypeVar("Message")


async def unless(stop: asyncio.Event, work: Coroutine[object, object, Message]) -> Message | None:
    """Return what `work` returns, or cancel it and return None where `stop` is set first."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stopping.cancel()


async def messages_until(
    stop: asyncio.Event, messages: AsyncIterator[Message]
) -> AsyncGenerator[Message, None]:
    """Yield messages until they end or `stop` is set."""
    while (message := await unless(stop, _next(messages))) is not None:
        yield message


async def _next(messages: AsyncIterator[Message]) -> Message | None:
    return await anext(messages, None)
