"""Work in daemon threads: unlike an executor's, they never keep a process alive that must end."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import TypeVar

Result = TypeVar("Result")

# For work that may take whatever nobody else needs.
BACKGROUND_NICENESS = 19


def in_thread(work: Callable[[], Result], name: str) -> Future[Result]:
    """Do `work` in a thread of that name."""
    future: Future[Result] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised again when it is awaited
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def is_in_background() -> bool:
    """Whether the present thread gets only what nobody else needs, as all of a hot load do."""
    return sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_IDLE


def at_once(works: Sequence[Callable[[], Result]], name: str) -> list[Result]:
    """Do all of `works`, each in a thread, and return their results in order.

    When all have ended, raises what the first of those that failed has raised.
    """
    futures = list[Future[Result]]()
    try:
        for work in works:
            futures.append(in_thread(work, name))
    finally:  # also if the machine has no more threads: what the others use is closed after this
        wait(futures)
    return [future.result() for future in futures]
