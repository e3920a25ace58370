"""One instance of a model: the thread that runs its batches, and reopens a lost backend.

A backend that is lost for the process is neither reopened nor closed: its device leaves, and the
process must end.
"""

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import Gauge

from serving.backends.backend import Backend
from serving.engine.batcher import Batch, Batcher
from serving.engine.buckets import Buckets
from serving.engine.latency import BatchLatency, Clock
from serving.engine.queue import compute_thread
from serving.engine.runner import Runner
from serving.engine.warm_up import Timing, measure
from serving.engine.watch import Task
from serving.errors import OutOfDeviceMemoryError, ProcessLostError

logger = logging.getLogger(__name__)

# Pauses between attempts to reopen a device.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
# A device that is lost again before it has run for this long is reopened only after a pause.
STEADY_S = 60.0


class Device:
    """One instance: runs batches, one at a time, and reopens its backend when that is lost.

    Args:
        name: its name, which no other instance of the model has.
        backend: its backend, which it closes.
        reopen: returns a new backend, proved in given batch sizes.
        runner: runs the batches.
        buckets: the batch sizes that run.
        latency: learns how long they take.
        batcher: forms the batches.
        clock: monotonic time, in seconds.
        gauge: 1 while it answers, else 0.
        changed: called each time that it begins or ceases to answer, on the device's thread.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        reopen: Callable[[Sequence[int]], Backend],
        *,
        runner: Runner,
        buckets: Buckets,
        latency: BatchLatency,
        batcher: Batcher,
        clock: Clock,
        gauge: Gauge,
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self._backend: Backend | None = backend
        self._reopen, self.runner = reopen, runner
        self._buckets, self.latency = buckets, latency
        self._batcher, self._clock = batcher, clock
        self._changed = changed
        gauge.set_function(lambda: self in batcher.serving)
        self._closing = threading.Event()
        self._pause_s, self._opened = 0.0, -math.inf
        self._thread = compute_thread("device", self._run)
        self._register(batcher.enter)

    @property
    def free_at(self) -> float:
        """When the batch that runs is expected to end, in seconds; 0 if none runs."""
        return self.runner.free_at

    def warm_up(self) -> dict[int, Timing]:
        """Run the batch sizes, so that no request pays for a first run; learn how long they take.

        Sizes that have lost on another instance are left out: nobody will choose them. Host memory
        that only the large ones need is released at the end.
        """
        times = measure(self._buckets.contenders(), self.runner.warm, self._clock)
        self.learn(times)
        if self._backend:
            self._backend.trim()
        return times

    def learn(self, times: Mapping[int, Timing]) -> None:
        """Expect the batch sizes to take what a warm-up has found, here or in another process."""
        for bucket, timing in times.items():
            self.latency.seed(bucket, *timing)

    def start(self) -> None:
        """Begin to take batches."""
        self._thread.start()

    def close(self) -> None:
        """Wait for the batch that runs, however long, then free the backend.

        Close the batcher first. A server that must end sets a limit to all that it waits for.
        """
        self.stop()
        if self._thread.is_alive():
            self._thread.join()
        if self._backend and not self.runner.lost_process:
            self._backend.close()

    def stop(self) -> None:
        """Do not reopen the backend any more."""
        self._closing.set()

    def run(self, batch: Batch) -> None:
        """Run a batch; if the backend is lost, return once it is reopened, or when closing.

        If it is lost for the process, `runner.lost_process` says so, and no batch may follow.
        """
        try:
            self.runner.run(batch)
        finally:
            self._batcher.end()
        if self.runner.lost_process:
            self._register(self._batcher.leave)
        elif self.runner.is_lost:
            self._recover()

    def _run(self) -> None:
        while not self.runner.lost_process and (batch := self._batcher.take()):
            self.run(batch)

    def _recover(self) -> None:
        self._register(self._batcher.pause)
        self._discard()
        is_steady = self._clock() - self._opened >= STEADY_S
        self._pause_s = 0.0 if is_steady else self._longer_pause_s()
        while not self._closing.wait(self._pause_s):
            self.runner.worker.task = Task("reopen", self._clock())
            try:
                self._open()
            except ProcessLostError as error:
                self.runner.lost_process = error
                self._register(self._batcher.leave)
                return
            except Exception as error:
                self._pause_s = self._longer_pause_s()
                logger.exception(
                    "a device cannot be reopened; next attempt in %.1f s", self._pause_s
                )
                if isinstance(error, OutOfDeviceMemoryError):
                    self._buckets.retire(self._buckets.usable[-1])
                self._discard()
                self._register(self._batcher.leave)
            else:
                logger.info("a device was reopened")
                self._register(self._batcher.enter)
                return
            finally:
                self.runner.worker.task = None

    def _longer_pause_s(self) -> float:
        return min(max(2 * self._pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)

    def _open(self) -> None:
        self._backend = self._reopen(self._buckets.usable)
        self.runner.use(self._backend)
        self.warm_up()
        self._opened = self._clock()

    def _discard(self) -> None:
        backend, self._backend = self._backend, None
        self.runner.worker.task = Task("reopen", self._clock())
        try:
            if backend:
                backend.close()
        except Exception:
            logger.exception("a lost device could not be closed")
        finally:
            self.runner.worker.task = None

    def _register(self, register: Callable[["Device"], None]) -> None:
        """Report to the batcher and `changed` whether it answers."""
        register(self)
        self._changed()
