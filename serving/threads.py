"""Work in daemon threads: unlike an executor's, they never keep a process alive that must end."""

import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import TypeVar

Result = TypeVar("Result")
Job = Callable[[], None]

# For work that may take whatever nobody else needs.
BACKGROUND_NICENESS = 19

_present = threading.local()


def in_thread(work: Callable[[], Result], name: str) -> Future[Result]:
    """Do `work` in a thread of that name."""
    future: Future[Result] = Future()
    threading.Thread(target=_job(work, future), name=name, daemon=True).start()
    return future


def in_background(work: Callable[[], Result], name: str) -> Future[Result]:
    """Do `work` in a thread of the lowest priority; call it on one of usual priority.

    Threads that it starts have that priority, too, for as long as they live: a process without
    privileges cannot raise it. Those that are meant to stay are started by `in_foreground`.
    """
    helper: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    threading.Thread(target=_help, args=(helper,), name=f"{name} helper", daemon=True).start()

    def run() -> Result:
        if sys.platform == "linux":  # there each thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICENESS)
        _present.helper = helper
        try:
            return work()
        finally:
            helper.put(None)

    return in_thread(run, name)


def in_foreground(work: Callable[[], Result]) -> Result:
    """Do `work` with the usual priority, also if the present thread is one of `in_background`."""
    helper: queue.SimpleQueue[Job | None] | None = getattr(_present, "helper", None)
    if helper is None:
        return work()
    future: Future[Result] = Future()
    helper.put(_job(work, future))
    return future.result()


def is_in_background() -> bool:
    """Whether the present thread is one of `in_background`."""
    return hasattr(_present, "helper")


def at_once(works: Sequence[Callable[[], Result]], name: str) -> list[Result]:
    """Do all of `works`, each in a thread, and return their results in order.

    When all have ended, raises what the first of those that failed has raised.
    """
    futures = [in_thread(work, name) for work in works]
    wait(futures)
    return [future.result() for future in futures]


def _job(work: Callable[[], Result], future: Future[Result]) -> Job:
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised again when it is awaited
            future.set_exception(error)

    return run


def _help(jobs: "queue.SimpleQueue[Job | None]") -> None:
    while job := jobs.get():
        job()
