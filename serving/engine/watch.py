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
        since: when it began, on the worker's clock, in seconds.
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
        clock: tells how long its work takes, in seconds: the engine's clock, or one of the time in
            which the thread has a core, if it often waits for one.
        task: set by the thread itself; None while it waits for work.
        overdue: set by the watch: the task, once it takes too long, until it has ended.
    """

    __slots__ = ("clock", "overdue", "task")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.task: Task | None = None
        self.overdue: Task | None = None

    def age_s(self, task: Task) -> float:
        """Return how long it works on a task already, in seconds."""
        return self.clock() - task.since


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
    """

    def __init__(
        self,
        model: str,
        watched: Sequence[Watched],
        limit_s: float,
        changed: Callable[[], None],
        metrics: ModelMetrics,
    ) -> None:
        self._model, self._watched, self._limit_s = model, watched, limit_s
        self._changed, self._metrics = changed, metrics
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
        said: list[str] = []
        changed = [self._look_at(one, said) for one in self._watched]
        if said:  # one line for all: of several with one cause, the log takes the first
            logger.warning("%s, %s", self._model, "; ".join(said))
        if any(changed):
            self._changed()

    def unfinished(self) -> list[str]:
        """Return what is being worked on, and for how long."""
        tasks = [(one, one.worker.task) for one in self._watched]
        return [f"{self._model}, {_aged(one, task)}" for one, task in tasks if task]

    def _go_on(self) -> None:
        self.start()
        self.look()

    def _look_at(self, one: Watched, said: list[str]) -> bool:
        """Say what has changed; return whether the worker is in another state now."""
        task, before = one.worker.task, one.worker.overdue
        overdue = task if task and one.worker.age_s(task) > self._allowed_s(task) else None
        if overdue is before:
            return False
        one.worker.overdue = overdue
        if before:
            said.append(f"{_aged(one, before)}: has ended")
        if overdue:
            self._metrics.overdue[overdue.work].inc()
            what = "is overdue: it counts as not serving until that ends"
            said.append(f"{_aged(one, overdue)}: {what}")
        if before and overdue:  # another task, which is so, too
            return False
        (one.suspend if overdue else one.resume)()
        return True

    def _allowed_s(self, task: Task) -> float:
        return max(self._limit_s, PATIENCE * task.predicted_s)


def _aged(one: Watched, task: Task) -> str:
    return f"{one.name}: {task}, for {one.worker.age_s(task):.1f} s"
