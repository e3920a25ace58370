"""How a run ends early: by a signal that asks it to."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from training.launch import STOP_SIGNALS

logger = logging.getLogger(__name__)


class Interrupted(Exception):  # noqa: N818 - not an error
    """An evaluation has ended early, because a signal asks to stop."""


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one acts as it did before."""
    event = threading.Event()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        restore()
        logger.info("interrupted: saving after this step; interrupt again to stop at once")
        event.set()

    for number in STOP_SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield event
    finally:
        restore()
