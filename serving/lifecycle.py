"""The server's state, the signals that stop it, and how it ends whatever still runs."""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from prometheus_client import Gauge

from serving.errors import UnavailableError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM)

# The exit code of a process that was told to stop, and in which something did not end in time.
UNFINISHED = 70
# The exit code of a process whose device is lost to it (`ProcessLostError`): a new one may have it.
DEVICE_LOST = 71
# The last words of such a process may take this long, in seconds: the reader of its log may hang.
LAST_WORDS_S = 0.5


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


def background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run what goes on until it is cancelled; say so if it fails, since nobody awaits it."""
    task = asyncio.create_task(work)
    task.add_done_callback(_tell_failure)
    return task


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.critical("%s has ended for good", task.get_coro(), exc_info=error)


def exit_after(
    seconds: float, unfinished: Callable[[], Sequence[str]], code: int = UNFINISHED
) -> None:
    """End the process with an exit code in this time, unless it has ended by itself.

    It is the one limit for all that a server waits for at its end: calls, threads that decode or
    run, executors, and the interpreter, which joins threads too. None of them can be interrupted.

    Args:
        seconds: time until then.
        unfinished: returns what still runs then, for the log.
        code: the exit code.
    """

    def run() -> None:
        time.sleep(min(seconds, threading.TIMEOUT_MAX))
        exit_now(code, lambda: _say_unfinished(seconds, unfinished, code))

    threading.Thread(target=run, name="exit", daemon=True).start()


def exit_now(code: int, say: Callable[[], None] = lambda: None) -> NoReturn:
    """Log last words, write the log, and end the process: no finalizer and no destructor runs."""

    def speak() -> None:
        say()
        logging.shutdown()

    words = threading.Thread(target=speak, daemon=True)
    words.start()
    words.join(LAST_WORDS_S)
    os._exit(code)


def _say_unfinished(seconds: float, unfinished: Callable[[], Sequence[str]], code: int) -> None:
    threads = [thread.name for thread in threading.enumerate() if not thread.daemon]
    what = "; ".join(unfinished()) or f"threads {', '.join(threads)}"
    logger.error("not ended within %g s: %s; exit code %d", seconds, what, code)
