"""Ctrl-C ends a run after the current step; a second one at once."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# MindSpore answers a SIGINT that arrives inside a graph by sending itself SIGTERM.
SIGNALS = (signal.SIGINT, signal.SIGTERM)

log = logging.getLogger(__name__)


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one acts as it did before."""
    event = threading.Event()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        restore()
        log.info("interrupted: saving after this step; once more to stop at once")
        event.set()

    for number in SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield event
    finally:
        restore()
