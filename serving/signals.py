"""What stops the server, and what stops with it.

SIGINT and SIGTERM: the first asks the server to stop, the second ends the process.
"""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """Yield the event that the first signal sets; restore the former handlers at the end."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def ask(signum: int) -> None:
        if stop.is_set():
            # Not the default action: the first process of a container would ignore it.
            os._exit(128 + signum)
        stop.set()

    former = {signum: signal.getsignal(signum) for signum in SIGNALS}
    for signum in SIGNALS:
        loop.add_signal_handler(signum, ask, signum)
    try:
        yield stop
    finally:
        for signum, handler in former.items():
            loop.remove_signal_handler(signum)
            signal.signal(signum, handler)


async def unless(stop: asyncio.Event, work: Coroutine[object, object, Result]) -> Result | None:
    """Return what `work` returns, or cancel it and return None if `stop` is set first."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stopping.cancel()


async def messages_until(
    stop: asyncio.Event, messages: AsyncIterator[Result]
) -> AsyncGenerator[Result, None]:
    """Yield messages until they end or `stop` is set."""
    while (message := await unless(stop, _next(messages))) is not None:
        yield message


async def _next(messages: AsyncIterator[Result]) -> Result | None:
    return await anext(messages, None)
