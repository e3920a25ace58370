"""The server's state, the signals that stop it, and work that ends with it."""

import asyncio
import os
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeVar

from prometheus_client import Gauge

from serving.errors import UnavailableError

Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class State(StrEnum):
    """The stages of the server's life; while draining it answers until its shutdown delay ends."""

    LOADING = "loading"
    SERVING = "serving"
    DRAINING = "draining"


class Readiness:
    """The server's state, the same for gRPC and HTTP, and the gauge that shows it.

    `closing` is set when a drain accepts no more calls: it ends streams, which might never end.
    """

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self.state = State.LOADING
        self.closing = asyncio.Event()

    def enter(self, state: State) -> None:
        """Change the state."""
        self.state = state
        self._gauge.set(state is State.SERVING)

    def check(self) -> None:
        """Raise `UnavailableError` unless clients should send calls here."""
        if self.state is not State.SERVING:
            raise UnavailableError(f"the server is {self.state}; try another, or again later")


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one ends the process.

    The former handlers are restored at the end.
    """
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
