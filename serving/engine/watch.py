"""Work that takes too long: nothing can interrupt a decode or a run, so nobody may wait for it.

A thread notes what it works on in its `Worker`: one assignment, without a lock. The `Watch` looks
at all of them from time to time, on the event loop, which waits for none of these threads.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from serving.engine.latency import Clock
from serving.engine.sources import Size
from serving.metrics import ModelMetrics, Work

logger = logging.getLogger(__name__)

# Time between two looks, in seconds: what is overdue, and what is so no longer, is known that late.
LOOK_S = 0.25
# A batch is not overdue before this many times its predicted time: a full one of a large network
# takes seconds on a small CPU, and twice that beside other programs.
PATIENCE = 4.0


class Task(NamedTuple):
    """What a thread works on.

    Args:
        work: of which kind it is.
        since: when it began, on the engine's clock, in seconds.
        predicted_s: how long it should take, in seconds; 0 if that is not known.
        subject: what the image claims to be, or how many images the batch has.
    """

    work: Work
    since: float
    predicted_s: float = 0.0
    subject: Size | int = 0

    def __str__(self) -> str:
        """Say what is done, for the log."""
        if isinstance(self.subject, Size):
            kind, pixels, nbytes = self.subject.kind, self.subject.pixels, self.subject.nbytes
            return f"decoding an image (format {kind}, {pixels} pixels, {nbytes} bytes)"
        return f"running a batch of {self.subject}" if self.work == "run" else "being reopened"


class Worker:
    """What a thread works on, for other threads to see.

    Attributes:
        task: set by the thread itself; None while it waits for work.
        overdue: set by the watch: the task, once it takes too long, until it has ended.
    """

    __slots__ = ("overdue", "task")

    def __init__(self) -> None:
        self.task: Task | None = None
        self.overdue: Task | None = None


class Watched(NamedTuple):
    """A worker, its name for the log, and what follows when its work becomes overdue or ends."""

    name: str
    worker: Worker
    suspend: Callable[[], None]
    resume: Callable[[], None]


class Watch:
    """Finds work that is overdue.

    Args:
        model: name of the model, for the log.
        watched: the workers.
        limit_s: time after which work is overdue, in seconds; a batch has at least `PATIENCE` times
            its predicted time.
        changed: called after a worker's work has become overdue, or has ended.
        metrics: counts what is overdue.
        clock: monotonic time, in seconds.
    """

    def __init__(
        self,
        model: str,
        watched: Sequence[Watched],
        limit_s: float,
        changed: Callable[[], None],
        metrics: ModelMetrics,
        clock: Clock,
    ) -> None:
        self._model, self._watched, self._limit_s = model, watched, limit_s
        self._changed, self._metrics, self._clock = changed, metrics, clock
        self._loop: asyncio.AbstractEventLoop | None = None
        metrics.overdue_workers.set_function(
            lambda: sum(one.worker.overdue is not None for one in watched)
        )

    def start(self) -> None:
        """Look from now on, on the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(LOOK_S, self._go_on)

    def stop(self) -> None:
        """Look no more; any thread may call."""
        if self._loop:
            self._loop.call_soon_threadsafe(lambda: self._timer.cancel())

    def look(self) -> None:
        """Find what has become overdue, and what is so no longer."""
        now = self._clock()
        changed = [self._look_at(one, now) for one in self._watched]
        if any(changed):
            self._changed()

    def unfinished(self) -> list[str]:
        """Return what is being worked on, and for how long."""
        now = self._clock()
        tasks = [(one.name, one.worker.task) for one in self._watched]
        return [
            f"{self._model}, {name}: {task}, for {now - task.since:.1f} s"
            for name, task in tasks
            if task
        ]

    def _go_on(self) -> None:
        self.start()
        self.look()

    def _look_at(self, one: Watched, now: float) -> bool:
        """Tell what has changed; return whether the worker is in another state now."""
        task, before = one.worker.task, one.worker.overdue
        overdue = task if task and now - task.since > self._allowed_s(task) else None
        if overdue is before:
            return False
        one.worker.overdue = overdue
        if before:
            self._log(one, before, now, "has ended")
        if overdue:
            self._metrics.overdue[overdue.work].inc()
            self._log(one, overdue, now, "is overdue: it counts as not serving until that ends")
        if before and overdue:  # another task, which is so, too
            return False
        (one.suspend if overdue else one.resume)()
        return True

    def _allowed_s(self, task: Task) -> float:
        return max(self._limit_s, PATIENCE * task.predicted_s)

    def _log(self, one: Watched, task: Task, now: float, what: str) -> None:
        logger.warning(
            "%s, %s: %s, for %.1f s: %s", self._model, one.name, task, now - task.since, what
        )
