"""Signs of life of what a runtime does for minutes without a word."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

EVERY_S = 15.0


@contextmanager
def told(what: str, every_s: float = EVERY_S) -> Iterator[None]:
    """Log that `what` is still going on, every so many seconds, and at the end how long it took."""
    started, ended = time.monotonic(), threading.Event()

    def tell() -> None:
        while not ended.wait(every_s):
            logger.info("%s: not done after %.0f s", what, time.monotonic() - started)

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    logger.info("%s: done in %.1f s", what, time.monotonic() - started)
