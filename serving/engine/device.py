"""One instance of a model: the thread that takes batches and runs them."""

import logging
import math
import threading
from collections.abc import Callable, Sequence
from enum import StrEnum
from statistics import median

from serving.backends.backend import Backend, Instance
from serving.engine.batcher import Batch, Batcher
from serving.engine.buckets import Buckets
from serving.engine.job import ImageJob
from serving.engine.latency import BatchLatency, Clock
from serving.engine.pixel_pool import PixelPool
from serving.engine.runner import Runner, Sink
from serving.engine.threads import compute_thread
from serving.errors import OutOfDeviceMemoryError

logger = logging.getLogger(__name__)

# A warm-up runs all buckets in turn for about so long, at most so often. First runs may compile or
# allocate: they are not counted, unless they took so long that they shall not be repeated.
TIMED_S, MOST_ROUNDS, PATIENCE_S = 1.0, 40, 10.0
LONGEST_WAIT_S = 30.0
FIRST_WAIT_S = 0.5
# A device that is lost again before it ran for so long is not opened anew at once.
STEADY_S = 60.0
# A batch that still runs so long after the last one was to end is left behind.
LONGEST_CLOSE_S = 10.0


class State(StrEnum):
    """Whether a device answers; `BROKEN` is one that could not be opened anew yet."""

    SERVING = "serving"
    RELOADING = "reloading"
    BROKEN = "broken"


class Device:
    """Runs batches on one backend, one at a time; opens the backend anew when it is lost.

    Args:
        instance: the backend, and the way to a new one.
        buckets: the batch sizes that run.
        latency: learns how long they take.
        pool: where the jobs' pixels are.
        batcher: where batches come from.
        sink: where they go.
        decode: decodes a job that comes undecoded; returns whether it can run.
        clock: monotonic time, in seconds.
        on_state: called after each change of `state`, on the device's thread.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        buckets: Buckets,
        latency: BatchLatency,
        pool: PixelPool,
        batcher: Batcher,
        sink: Sink,
        decode: Callable[[ImageJob], bool],
        clock: Clock,
        on_state: Callable[["Device"], None],
    ) -> None:
        self._reopen, self._buckets, self._latency = instance.reopen, buckets, latency
        self._batcher, self._clock, self._on_state = batcher, clock, on_state
        self._backend: Backend | None = instance.backend
        self.runner = Runner(instance.backend, buckets, latency, pool, sink, decode, clock)
        self.state = State.SERVING
        self._closing = threading.Event()
        self._wait_s, self._opened = 0.0, -math.inf
        self._thread = compute_thread("device", self._run)

    @property
    def free_at(self) -> float:
        """When the batch that runs is expected to end; in the past where none runs."""
        return self.runner.free_at

    def warm_up(self) -> None:
        """Run every bucket, so that no caller pays for a first run, and learn how long it takes.

        They take turns, so that a moment at which the machine is busy does not slow down one alone.
        """
        sizes = self._buckets.usable  # another device may retire one meanwhile
        started, rounds = self._clock(), [self._round(sizes)]
        while self._clock() < started + (TIMED_S if rounds[1:] else PATIENCE_S):
            rounds.append(self._round(sizes))
            if len(rounds) == MOST_ROUNDS:
                break
        for bucket, seconds in zip(sizes, zip(*rounds[1:] or rounds, strict=True), strict=True):
            self._latency.seed(bucket, median(seconds))

    def _round(self, sizes: Sequence[int]) -> list[float]:
        return [self.runner.warm(bucket) for bucket in sizes]

    def start(self) -> None:
        """Begin to take batches."""
        self._thread.start()

    def close(self) -> None:
        """Wait for the batch that runs, then free the backend; the batcher must be closed."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(LONGEST_CLOSE_S)
        if self._thread.is_alive():
            logger.error("a device does not come to an end: it is left behind")
        elif self._backend:
            self._backend.close()

    def stop(self) -> None:
        """Open nothing anew any more."""
        self._closing.set()

    def _run(self) -> None:
        while batch := self._batcher.take():
            self.run(batch)

    def run(self, batch: Batch) -> None:
        """Run a batch; where that loses the backend, return with a new one, or when closing."""
        self.runner.run(batch)
        if self.runner.is_lost:
            self._recover()

    def _recover(self) -> None:
        self._enter(State.RELOADING)
        self._discard()
        self._wait_s = self._longer() if self._clock() - self._opened < STEADY_S else 0.0
        while not self._closing.wait(self._wait_s):
            try:
                self._open()
            except Exception as error:
                self._wait_s = self._longer()
                logger.exception("a device cannot be opened anew; again in %.1f s", self._wait_s)
                if isinstance(error, OutOfDeviceMemoryError):
                    self._buckets.retire(self._buckets.usable[-1])
                self._discard()
                self._enter(State.BROKEN)
            else:
                logger.info("a device was opened anew")
                self._enter(State.SERVING)
                return

    def _longer(self) -> float:
        return min(max(2 * self._wait_s, FIRST_WAIT_S), LONGEST_WAIT_S)

    def _open(self) -> None:
        self._backend = self._reopen(self._buckets.usable)
        self.runner.use(self._backend)
        self.warm_up()
        self._opened = self._clock()

    def _discard(self) -> None:
        backend, self._backend = self._backend, None
        try:
            if backend:
                backend.close()
        except Exception:
            logger.exception("a lost device could not be closed")

    def _enter(self, state: State) -> None:
        self.state = state
        self._on_state(self)
