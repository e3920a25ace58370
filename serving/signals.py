"""SIGINT and SIGTERM: the first asks the server to stop, the second ends the process."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

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
