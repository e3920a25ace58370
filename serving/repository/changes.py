"""Changes of what is loaded: one after another, each to its end, whoever has asked for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from serving.errors import UnavailableError

Result = TypeVar("Result")


class Changes:
    """Makes changes; only the event loop calls."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[object]] = set()

    async def make(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Make a change once those before it are made, also if the caller leaves.

        Raises what it raises, and `UnavailableError` if it is cancelled.
        """

        async def run() -> Result:
            async with self._lock:
                return await work()

        change = asyncio.create_task(run())
        self._tasks.add(change)  # the event loop itself would forget it
        change.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(change)
        except asyncio.CancelledError:
            if change.cancelled():  # and not who waits for it
                raise UnavailableError("the server is draining; try another") from None
            raise

    def cancel(self) -> None:
        """Give up all changes; a thread that loads is left to itself."""
        for change in self._tasks:
            change.cancel()
