"""Runs batches on a backend, and recovers from those that fail."""

import logging

from serving.backends.backend import Backend
from serving.engine.answers import Answers
from serving.engine.batcher import Batch
from serving.engine.buckets import Buckets, fit
from serving.engine.buffers import Buffers
from serving.engine.decode import Decoder
from serving.engine.job import BatchRun, ImageJob
from serving.engine.latency import BatchLatency, Clock
from serving.engine.watch import Task, Worker
from serving.engine.wide import Wide
from serving.errors import (
    DeviceLostError,
    InternalError,
    OutOfDeviceMemoryError,
    ProcessLostError,
)

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
        wide: runs the batches that are wide; None if none is.

    Attributes:
        buffers: what the backend reads.
        free_at: when the batch that runs is expected to end, in seconds; 0 if none runs.
        is_lost: whether nothing can run until `use` gives it another backend.
        ran_s: the time in which it has run batches, in seconds.
        ran_images: their images.
        lost_process: the error after which no backend can run in this process; None before.
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
        wide: Wide | None = None,
    ) -> None:
        self._buckets, self._latency, self._wide = buckets, latency, wide
        self._answers, self._decode, self._clock = answers, decode, clock
        self.worker = Worker(clock)
        self.ran_s, self.ran_images = 0.0, 0
        self.lost_process: ProcessLostError | None = None
        self.use(backend)

    def use(self, backend: Backend) -> None:
        """Run on this backend from now on; none of its buckets is warm yet."""
        self.buffers = Buffers(backend, self._buckets.usable)
        self._failures, self.free_at, self.is_lost = 0, 0.0, False
        # End of the last batch, if the device has been busy since; None if it idled.
        self._busy_since: float | None = None

    def warm(self, bucket: int) -> float:
        """Run a bucket without images; return how long it took, in seconds."""
        started = self._clock()
        self.buffers.run(bucket, bucket)
        return self._clock() - started

    def run(self, batch: Batch) -> None:
        """Run a batch. Out of memory, it runs in smaller ones; failing, its halves run once."""
        if batch.after_idling:
            self._busy_since = None
        self._run(self._decoded(batch), batch, may_halve=True)
        self.free_at = 0.0
        if self._failures >= MOST_FAILURES:
            self.is_lost = True

    def _decoded(self, batch: Batch) -> list[ImageJob]:
        """Decode what is not decoded yet, straight into the batch; return the jobs that can run."""
        jobs = batch.jobs
        decode_s, started = sum(job.known_decode_s for job in jobs), self._clock()
        usable = self._buckets.usable  # another device may have retired the batch's size
        bucket = fit(usable, min(len(jobs), usable[-1]))
        wide = bool(batch.wide_size)
        run_s = self._latency.bound(batch.wide_size if wide else bucket, wide=wide)
        self.free_at = started + decode_s + run_s
        ready: list[ImageJob] = []
        for job in jobs:
            if job.pixels is not None or self._decode(
                job, self.buffers.place(len(ready), bucket, job), self.worker
            ):
                ready.append(job)
        if self._busy_since is not None:
            self._busy_since += self._clock() - started  # decoding is no part of the hand-over
        return ready

    def _run(self, jobs: list[ImageJob], batch: Batch, *, may_halve: bool) -> None:
        while jobs:
            size = self._buckets.usable[-1]  # the part before may have retired a size
            live, jobs = self._living(jobs[:size]), jobs[size:]
            if live and self.is_lost:
                self._answers.fail(live, DeviceLostError("the device was lost"))
            elif live and (error := self._try(live, batch)):
                self._recover(live, error, batch, may_halve=may_halve)

    def _recover(
        self, jobs: list[ImageJob], error: Exception, batch: Batch, *, may_halve: bool
    ) -> None:
        if isinstance(error, DeviceLostError):
            self.is_lost = True
            if isinstance(error, ProcessLostError):
                self.lost_process = error
            self._answers.fail(jobs, error)
        elif isinstance(error, OutOfDeviceMemoryError) and self._shrink(jobs):
            self._run(jobs, batch, may_halve=may_halve)
        elif may_halve and len(jobs) > 1:
            logger.warning("a batch of %d failed: running halves", len(jobs), exc_info=error)
            half = (len(jobs) + 1) // 2
            self._run(jobs[:half], batch, may_halve=False)
            self._run(jobs[half:], batch, may_halve=False)
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

    def _try(self, jobs: list[ImageJob], batch: Batch) -> Exception | None:
        try:
            run = self._run_wide(jobs, batch) or self._infer(jobs, batch)
        except Exception as error:  # noqa: BLE001 - no failure may end the device's thread
            self._failures += 1
            self._busy_since = None  # the next batch's time must not include a failed run
            return error
        finally:
            self.worker.task = None
        self._failures = 0
        self._answers.deliver(jobs, run)
        return None

    def _run_wide(self, jobs: list[ImageJob], batch: Batch) -> BatchRun | None:
        """Run a batch that was meant to run wide if it still may; return None if it must not.

        It must not if another was taken meanwhile, or if wide ones fail: it runs as any other then.
        """
        if not (wide := self._wide) or batch.wide_size not in wide.sizes or not wide.is_alone:
            return None
        try:
            return self._infer(jobs, batch, wide=wide)
        except Exception as error:  # noqa: BLE001 - whatever it is, the batch may run on one core
            self._busy_since = None
            wide.give_up(error)
            return None

    def _infer(self, jobs: list[ImageJob], batch: Batch, *, wide: Wide | None = None) -> BatchRun:
        bucket = batch.wide_size if wide else fit(self._buckets.usable, len(jobs))
        buffers, is_wide = (wide or self).buffers, wide is not None
        buffers.gather(jobs, bucket)
        predicted_s, started = self._latency.bound(bucket, wide=is_wide), self._clock()
        self.free_at = started + predicted_s
        self.worker.task = Task("run", started, predicted_s, len(jobs))
        is_cold = bucket not in buffers.warm
        probabilities = buffers.run(bucket, len(jobs))
        finished = self._clock()
        # A busy device's batch includes the hand-over from the one before: jobs wait for both.
        self.ran_s += finished - started
        self.ran_images += len(jobs)
        begun = started if self._busy_since is None else self._busy_since
        self._busy_since = finished
        # What others did to a wide batch says nothing about those that run beside others.
        if not wide or wide.is_alone:
            self._latency.observe(bucket, finished - begun, wide=is_wide)
        return BatchRun(
            probabilities, started, finished, bucket, predicted_s, is_cold, batch.reason, is_wide
        )
