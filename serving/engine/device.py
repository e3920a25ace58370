"""One instance of a model: the thread that takes batches and runs them."""

import logging
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from serving.backends import Backend, Probabilities, fit
from serving.engine.batcher import Batcher, Clock
from serving.engine.job import ImageJob, split
from serving.engine.pixel_pool import PixelPool
from serving.errors import InternalError, ServingError

logger = logging.getLogger(__name__)


class BatchRun(NamedTuple):
    """What a batch gave: float32 (images, classes), and when it ran in which bucket."""

    probabilities: Probabilities
    started: float
    finished: float
    bucket: int


class Sink(Protocol):
    """Where jobs go when a device is done with them; called on the device's thread."""

    def deliver(self, jobs: list[ImageJob], run: BatchRun) -> None:
        """Answer a batch."""

    def fail(self, jobs: list[ImageJob], error: ServingError) -> None:
        """Fail jobs."""

    def drop(self, jobs: list[ImageJob]) -> None:
        """Let go of jobs for which nobody waits any more."""


class Device:
    """Runs batches on one backend, one at a time.

    Args:
        backend: the model's instance.
        buckets: the batch sizes that run, rising.
        pool: where the jobs' pixels are.
        batcher: where batches come from.
        sink: where they go.
        clock: monotonic time, in seconds.
    """

    def __init__(
        self,
        backend: Backend,
        buckets: Sequence[int],
        pool: PixelPool,
        batcher: Batcher,
        sink: Sink,
        clock: Clock = time.monotonic,
    ) -> None:
        self._backend, self._pool, self._batcher, self._sink = backend, pool, batcher, sink
        self._buckets, self._clock = buckets, clock
        self._buffers = {bucket: backend.allocate(bucket) for bucket in buckets}
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def warm_up(self) -> None:
        """Run every bucket once, so that no caller pays for a first run."""
        for bucket, buffer in self._buffers.items():
            self._backend.run(buffer, bucket)

    def start(self) -> None:
        """Begin to take batches."""
        self._thread.start()

    def close(self) -> None:
        """Wait for the batch that runs, then free the backend; the batcher must be closed."""
        if self._thread.is_alive():
            self._thread.join()
        self._backend.close()

    def _run(self) -> None:
        while batch := self._batcher.take():
            self.run(batch)

    def run(self, batch: list[ImageJob]) -> None:
        """Run a batch; where it fails, its halves once each, so that one image spoils less."""
        error = self._try(batch)
        if error and len(batch) == 1:
            self._sink.fail(batch, InternalError.logged(error))
        elif error:
            logger.warning("a batch of %d failed: running halves", len(batch), exc_info=error)
            middle = len(batch) // 2
            self._run_half(batch[:middle])
            self._run_half(batch[middle:])

    def _run_half(self, half: list[ImageJob]) -> None:
        live, dead = split(half, self._clock())
        if dead:
            self._sink.drop(dead)
        if live and (error := self._try(live)):
            self._sink.fail(live, InternalError.logged(error))

    def _try(self, batch: list[ImageJob]) -> Exception | None:
        try:
            run = self._infer(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the device goes on
            return error
        self._sink.deliver(batch, run)
        return None

    def _infer(self, batch: list[ImageJob]) -> BatchRun:
        bucket = fit(self._buckets, len(batch))
        buffer = self._buffers[bucket]
        self._pool.gather([job.slot for job in batch], buffer)
        started = self._clock()
        probabilities = self._backend.run(buffer, len(batch))
        return BatchRun(probabilities, started, self._clock(), bucket)
