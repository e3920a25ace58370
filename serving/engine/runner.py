"""Batches on a backend, and what becomes of those that fail."""

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from serving.backends.backend import Backend, Probabilities, fit
from serving.engine.batcher import Batch
from serving.engine.buckets import Buckets
from serving.engine.job import ImageJob
from serving.engine.latency import BatchLatency, Clock
from serving.engine.pixel_pool import PixelPool
from serving.errors import DeviceLostError, InternalError, OutOfDeviceMemoryError, ServingError
from serving.metrics import BatchReason

logger = logging.getLogger(__name__)

# So many runs in a row without one answer, halves included, and the backend counts as lost.
MOST_FAILURES = 10


class BatchRun(NamedTuple):
    """What a batch gave: float32 (images, classes); when it ran, and how long it was to take."""

    probabilities: Probabilities
    started: float
    finished: float
    bucket: int
    predicted: float
    is_cold: bool
    reason: BatchReason


class Sink(Protocol):
    """Where jobs go when a device is done with them; called on the device's thread."""

    def deliver(self, jobs: list[ImageJob], run: BatchRun) -> None:
        """Answer a batch."""

    def fail(self, jobs: list[ImageJob], error: ServingError) -> None:
        """Fail jobs."""

    def drop(self, jobs: list[ImageJob]) -> None:
        """Let go of jobs for which nobody waits any more."""


class Runner:
    """Runs batches; every job of a batch has gone to the sink when `run` returns.

    `free_at` is when the batch that runs is expected to end. `is_lost` says that nothing runs
    before `use` gives it another backend. `decode` decodes a job that comes undecoded, and returns
    whether it can run.
    """

    def __init__(
        self,
        backend: Backend,
        buckets: Buckets,
        latency: BatchLatency,
        pool: PixelPool,
        sink: Sink,
        decode: Callable[[ImageJob], bool],
        clock: Clock,
    ) -> None:
        self._buckets, self._latency, self._pool = buckets, latency, pool
        self._sink, self._decode, self._clock = sink, decode, clock
        self.use(backend)

    def use(self, backend: Backend) -> None:
        """Run on this backend from now on; none of its buckets is warm yet."""
        self._backend = backend
        self._buffers = {bucket: backend.allocate(bucket) for bucket in self._buckets.usable}
        self._warm: set[int] = set()
        self._failures, self.free_at, self.is_lost = 0, 0.0, False
        self._ended: float | None = None

    def warm(self, bucket: int) -> float:
        """Run a bucket for nobody; return how long it took, in seconds."""
        started = self._clock()
        self._backend.run(self._buffers[bucket], bucket)
        self._warm.add(bucket)
        return self._clock() - started

    def run(self, batch: Batch) -> None:
        """Run a batch: out of memory, in smaller ones; else failing, its halves, once each."""
        if batch.after_idling:
            self._ended = None
        self._run(self._decoded(batch.jobs), batch.reason, may_halve=True)
        self.free_at = 0.0
        if self._failures >= MOST_FAILURES:
            self.is_lost = True

    def _decoded(self, jobs: list[ImageJob]) -> list[ImageJob]:
        """Decode what is not decoded yet; return what can run."""
        decode_s, started = sum(job.decode_s for job in jobs), self._clock()
        usable = self._buckets.usable  # another device may have retired the batch's size
        bucket = fit(usable, min(len(jobs), usable[-1]))
        self.free_at = started + decode_s + self._latency.bound(bucket)
        left = [job for job in jobs if job.decoded or self._decode(job)]
        if self._ended is not None:
            self._ended += self._clock() - started  # it is no part of the hand-over
        return left

    def _run(self, jobs: list[ImageJob], reason: BatchReason, *, may_halve: bool) -> None:
        for part in _parts(jobs, self._buckets.usable[-1]):
            live = self._living(part)
            if live and self.is_lost:
                self._sink.fail(live, DeviceLostError("the device was lost"))
            elif live and (error := self._try(live, reason)):
                self._remedy(live, error, reason, may_halve=may_halve)

    def _remedy(
        self, jobs: list[ImageJob], error: Exception, reason: BatchReason, *, may_halve: bool
    ) -> None:
        if isinstance(error, DeviceLostError):
            self.is_lost = True
            self._sink.fail(jobs, error)
        elif isinstance(error, OutOfDeviceMemoryError) and self._shrink(jobs):
            self._run(jobs, reason, may_halve=may_halve)
        elif may_halve and len(jobs) > 1:
            logger.warning("a batch of %d failed: running halves", len(jobs), exc_info=error)
            for half in _parts(jobs, (len(jobs) + 1) // 2):
                self._run(half, reason, may_halve=False)
        else:
            self._sink.fail(jobs, InternalError.logged(error))

    def _living(self, jobs: list[ImageJob]) -> list[ImageJob]:
        now = self._clock()
        live: list[ImageJob] = []
        dead: list[ImageJob] = []
        for job in jobs:
            (dead if job.is_dead(now) else live).append(job)
        if dead:
            self._sink.drop(dead)
        return live

    def _shrink(self, jobs: list[ImageJob]) -> bool:
        usable = self._buckets.usable
        if len(jobs) > usable[-1]:  # another device found it out meanwhile
            return True
        bucket = fit(usable, len(jobs))
        logger.warning("a batch of %d did not fit into the device's memory", bucket)
        return self._buckets.retire(bucket)

    def _try(self, jobs: list[ImageJob], reason: BatchReason) -> Exception | None:
        try:
            run = self._infer(jobs, reason)
        except Exception as error:  # noqa: BLE001 - whatever it is, the device goes on
            self._failures += 1
            self._ended = None  # what failed is no part of the next batch's time
            return error
        self._failures = 0
        self._sink.deliver(jobs, run)
        return None

    def _infer(self, jobs: list[ImageJob], reason: BatchReason) -> BatchRun:
        bucket = fit(self._buckets.usable, len(jobs))
        buffer = self._buffers[bucket]
        self._pool.gather([job.slot for job in jobs], buffer)
        predicted, started = self._latency.bound(bucket), self._clock()
        self.free_at = started + predicted
        probabilities = self._backend.run(buffer, len(jobs))
        finished, is_cold = self._clock(), bucket not in self._warm
        self._warm.add(bucket)
        # Between two batches of a busy device lie hand-overs: who waits behind both waits for them.
        begun, self._ended = self._ended or started, finished
        self._latency.observe(bucket, finished - begun)
        return BatchRun(probabilities, started, finished, bucket, predicted, is_cold, reason)


def _parts(jobs: list[ImageJob], size: int) -> Iterator[list[ImageJob]]:
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]
