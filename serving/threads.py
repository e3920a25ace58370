"""Work in daemon threads: unlike an executor's, they never keep a process alive that must end."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import TypeVar

Result = TypeVar("Result")


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


def at_once(works: Sequence[Callable[[], Result]], name: str) -> list[Result]:
    """Do all of `works`, each in a thread, and return their results in order.

    When all have ended, raises what the first of those that failed has raised.
    """
    futures = [in_thread(work, name) for work in works]
    wait(futures)
    return [future.result() for future in futures]
