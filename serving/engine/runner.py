"""Runs batches on a backend, and recovers from those that fail."""

import logging

from images.transform import Pixels
from serving.backends.backend import Backend
from serving.engine.answers import Answers
from serving.engine.batcher import Batch
from serving.engine.buckets import Buckets, fit
from serving.engine.decode import Decoder
from serving.engine.job import BatchRun, ImageJob
from serving.engine.latency import BatchLatency, Clock
from serving.engine.watch import Task, Worker
from serving.errors import DeviceLostError, InternalError, OutOfDeviceMemoryError
from serving.metrics import BatchReason

logger = logging.getLogger(__name__)

# After this many runs in a row without an answer, halves included, the backend counts as lost.
MOST_FAILURES = 10


class Runner:
    """Runs batches; every job of a batch has ended when `run` returns.

    Args:
        backend: runs them.
        buckets: the batch sizes that run.
        latency: learns how long they take.
        answers: gets the jobs.
        decode: decodes jobs that arrive undecoded.
        clock: monotonic time, in seconds.

    Attributes:
        free_at: when the batch that runs is expected to end, in seconds; 0 if none runs.
        is_lost: whether nothing can run until `use` gives it another backend.
        worker: what the thread that calls `run` works on.
    """

    def __init__(
        self,
        backend: Backend,
        buckets: Buckets,
        latency: BatchLatency,
        answers: Answers,
        decode: Decoder,
        clock: Clock,
    ) -> None:
        self._buckets, self._latency = buckets, latency
        self._answers, self._decode, self._clock = answers, decode, clock
        self.worker = Worker(clock)
        self.use(backend)

    def use(self, backend: Backend) -> None:
        """Run on this backend from now on; none of its buckets is warm yet."""
        self._backend = backend
        self._buffers = {bucket: backend.allocate(bucket) for bucket in self._buckets.usable}
        # Views of their rows, made only once: an image is in its place if its pixels are that view.
        self._rows = {bucket: [*buffer] for bucket, buffer in self._buffers.items()}
        self._warm: set[int] = set()
        self._failures, self.free_at, self.is_lost = 0, 0.0, False
        # End of the last batch, if the device has been busy since; None if it idled.
        self._busy_since: float | None = None

    def warm(self, bucket: int) -> float:
        """Run a bucket without images; return how long it took, in seconds."""
        started = self._clock()
        self._backend.run(self._buffers[bucket], bucket)
        self._warm.add(bucket)
        return self._clock() - started

    def run(self, batch: Batch) -> None:
        """Run a batch. Out of memory, it runs in smaller ones; failing, its halves run once."""
        if batch.after_idling:
            self._busy_since = None
        self._run(self._decoded(batch.jobs), batch.reason, may_halve=True)
        self.free_at = 0.0
        if self._failures >= MOST_FAILURES:
            self.is_lost = True

    def _decoded(self, jobs: list[ImageJob]) -> list[ImageJob]:
        """Decode what is not decoded yet, straight into the batch; return the jobs that can run."""
        decode_s, started = sum(job.known_decode_s for job in jobs), self._clock()
        usable = self._buckets.usable  # another device may have retired the batch's size
        bucket = fit(usable, min(len(jobs), usable[-1]))
        self.free_at = started + decode_s + self._latency.bound(bucket)
        ready: list[ImageJob] = []
        for job in jobs:
            place = self._place(len(ready), bucket, job)
            if job.pixels is not None or self._decode(job, place, self.worker):
                ready.append(job)
        if self._busy_since is not None:
            self._busy_since += self._clock() - started  # decoding is no part of the hand-over
        return ready

    def _place(self, row: int, bucket: int, job: ImageJob) -> Pixels:
        """Return the row to decode a job into, or its slot if the batch shrank to fewer rows."""
        return self._rows[bucket][row] if row < bucket else job.lease.slot

    def _run(self, jobs: list[ImageJob], reason: BatchReason, *, may_halve: bool) -> None:
        while jobs:
            size = self._buckets.usable[-1]  # the part before may have retired a size
            live, jobs = self._living(jobs[:size]), jobs[size:]
            if live and self.is_lost:
                self._answers.fail(live, DeviceLostError("the device was lost"))
            elif live and (error := self._try(live, reason)):
                self._recover(live, error, reason, may_halve=may_halve)

    def _recover(
        self, jobs: list[ImageJob], error: Exception, reason: BatchReason, *, may_halve: bool
    ) -> None:
        if isinstance(error, DeviceLostError):
            self.is_lost = True
            self._answers.fail(jobs, error)
        elif isinstance(error, OutOfDeviceMemoryError) and self._shrink(jobs):
            self._run(jobs, reason, may_halve=may_halve)
        elif may_halve and len(jobs) > 1:
            logger.warning("a batch of %d failed: running halves", len(jobs), exc_info=error)
            half = (len(jobs) + 1) // 2
            self._run(jobs[:half], reason, may_halve=False)
            self._run(jobs[half:], reason, may_halve=False)
        else:
            self._answers.fail(jobs, InternalError.logged(error))

    def _living(self, jobs: list[ImageJob]) -> list[ImageJob]:
        now = self._clock()
        live: list[ImageJob] = []
        dead: list[ImageJob] = []
        for job in jobs:
            (dead if job.is_dead(now) else live).append(job)
        if dead:
            self._answers.drop(dead)
        return live

    def _shrink(self, jobs: list[ImageJob]) -> bool:
        usable = self._buckets.usable
        if len(jobs) > usable[-1]:  # another device has retired that size meanwhile
            return True
        bucket = fit(usable, len(jobs))
        logger.warning("a batch of %d did not fit into the device's memory", bucket)
        return self._buckets.retire(bucket)

    def _try(self, jobs: list[ImageJob], reason: BatchReason) -> Exception | None:
        try:
            run = self._infer(jobs, reason)
        except Exception as error:  # noqa: BLE001 - no failure may end the device's thread
            self._failures += 1
            self._busy_since = None  # the next batch's time must not include a failed run
            return error
        finally:
            self.worker.task = None
        self._failures = 0
        self._answers.deliver(jobs, run)
        return None

    def _infer(self, jobs: list[ImageJob], reason: BatchReason) -> BatchRun:
        bucket = fit(self._buckets.usable, len(jobs))
        self._gather(jobs, bucket)
        predicted_s, started = self._latency.bound(bucket), self._clock()
        self.free_at = started + predicted_s
        self.worker.task = Task("run", started, predicted_s, len(jobs))
        probabilities = self._backend.run(self._buffers[bucket], len(jobs))
        finished, is_cold = self._clock(), bucket not in self._warm
        self._warm.add(bucket)
        # A busy device's batch includes the hand-over from the one before: jobs wait for both.
        begun = started if self._busy_since is None else self._busy_since
        self._busy_since = finished
        self._latency.observe(bucket, finished - begun)
        return BatchRun(probabilities, started, finished, bucket, predicted_s, is_cold, reason)

    def _gather(self, jobs: list[ImageJob], bucket: int) -> None:
        """Copy the images that are not in their row yet.

        Images only move towards the front of a batch (those before them were dropped, or they are
        a later part of it), each after those before it: none is overwritten that is still needed.
        """
        for row, job in zip(self._rows[bucket], jobs, strict=False):
            if job.pixels is not row:
                row[:] = job.pixels
                job.pixels = row
