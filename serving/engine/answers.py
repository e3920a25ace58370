"""How images end: each once, counted, and its caller answered."""

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from serving.engine.job import BatchRun, ImageJob, Prediction, Timing, Waiter, expired
from serving.engine.latency import Clock, WaitCorrection
from serving.engine.shadow import Shadow
from serving.errors import InternalError, ServingError
from serving.metrics import ModelMetrics

logger = logging.getLogger(__name__)

# A client cancels when its deadline passes. That cancel may arrive this long before the deadline
# as computed here, which is later by the time that the request travelled, and which gRPC rounds up
# by as much as 1 %.
EARLY_S = 0.01
EARLY_SHARE = 0.01
NONFINITE = "the model's probabilities for the image are not finite numbers"


class Answers:
    """Where jobs go when they end; any thread may call.

    What a job holds is given back at once. Counting and answering happen on the thread that answers
    one of the callers, with one wake-up for all jobs.

    Args:
        metrics: counts them.
        correction: learns how long jobs waited.
        clock: monotonic time, in seconds.

    Attributes:
        shadow: is offered the images that were answered, unless None.
    """

    def __init__(self, metrics: ModelMetrics, correction: WaitCorrection, clock: Clock) -> None:
        self._metrics, self._correction, self._clock = metrics, correction, clock
        self.shadow: Shadow | None = None
        # The times of each stage, and the place of its field in `Timing`.
        self._stages = [
            (times, Timing._fields.index(f"{stage}_s")) for stage, times in metrics.stages.items()
        ]

    def deliver(self, jobs: list[ImageJob], run: BatchRun) -> None:
        """Answer the jobs of a batch; those whose probabilities are not all finite fail."""
        finite = [True] * len(jobs)
        # The sum of numbers up to 1 is finite if they all are, and much quicker to look at.
        if not math.isfinite(np.add.reduce(run.probabilities, axis=None)):
            finite = [bool(np.isfinite(row).all()) for row in run.probabilities]
            nonfinite = finite.count(False)
            self._metrics.nonfinite_images.inc(nonfinite)
            logger.error("%d images of a batch of %d fail: %s", nonfinite, len(jobs), NONFINITE)
        self._end(jobs, partial(self._answer, jobs, run, finite))
        if shadow := self.shadow:  # once: it may go at any moment
            shadow.offer(jobs, run.probabilities)

    def fail(self, jobs: list[ImageJob], error: ServingError) -> None:
        """Fail jobs."""
        # Its traceback holds the jobs, and the jobs' waiters will hold the error.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        self._end(jobs, partial(self._refuse, jobs, error))

    def drop(self, jobs: list[ImageJob]) -> None:
        """End jobs that are cancelled, expired or too late."""
        self.fail(jobs, expired())

    def expire(self, waiter: Waiter) -> None:
        """End a request at its deadline; its images without an answer are counted."""
        waiter.expire(self._metrics.images["expired"].inc)

    def leave(self, waiter: Waiter) -> None:
        """End a request whose caller has left; its images without an answer are counted."""
        margin_s = EARLY_S + EARLY_SHARE * (waiter.deadline - waiter.arrived)
        is_early = self._clock() < waiter.deadline - margin_s
        self._metrics.images["cancelled" if is_early else "expired"].inc(waiter.leave())

    def _end(self, jobs: Sequence[ImageJob], work: Callable[[], None]) -> None:
        """Give back what jobs hold, then have `work` done on a thread that answers."""
        for job in jobs:
            job.lease.close()
        for job in jobs:
            if job.waiter.post(work):
                return
        work()  # all callers have left: only the counting remains

    def _refuse(self, jobs: list[ImageJob], error: ServingError) -> None:
        now = self._clock()
        # A job that expired waited at least this long; one cancelled early gives no information.
        self._correction.observe((job.wait_s, now - job.admitted) for job in jobs if now >= job.due)
        failed = sum(job.waiter.put(job.index, error) for job in jobs)
        self._metrics.images[error.outcome].inc(failed)
        for job in jobs:
            job.waiter.settle()

    def _answer(self, jobs: list[ImageJob], run: BatchRun, finite: list[bool]) -> None:
        self._correction.observe([(j.wait_s, run.started - j.admitted) for j in jobs if j.wait_s])
        now, in_time, failed = self._clock(), 0, 0
        timings: list[Timing] = []  # of those that are answered
        for job, row, is_finite in zip(jobs, run.probabilities, finite, strict=True):
            waiter = job.waiter
            if not is_finite:
                failed += waiter.put(job.index, InternalError(NONFINITE))
                continue
            timing = job.timing(run.started, run.finished, len(jobs))
            if waiter.put(job.index, Prediction(row, timing)):
                timings.append(timing)
                in_time += now < waiter.deadline
        for times, place in self._stages:
            times.observe([timing[place] for timing in timings])
        self._count_images(len(timings), in_time, failed, len(jobs))
        self._count_batch(run, jobs)
        for job in jobs:  # only now: metrics that are read after an answer include it
            job.waiter.settle()

    def _count_images(self, answered: int, in_time: int, failed: int, images: int) -> None:
        self._metrics.images["ok"].inc(answered)
        self._metrics.answered.add(answered)
        self._metrics.goodput_images.inc(in_time)
        if failed:
            self._metrics.images["failed"].inc(failed)
        if wasted := images - answered - failed:
            self._metrics.wasted_images.inc(wasted)

    def _count_batch(self, run: BatchRun, jobs: Sequence[ImageJob]) -> None:
        images, decode_s = len(jobs), 0.0
        for job in jobs:
            decode_s += job.decoded - job.decode_started
        self._metrics.batch_sizes.observe(
            images, decode_s, run.finished - run.started, run.finished
        )
        self._metrics.batches[run.reason].inc()
        self._metrics.batch_images.observe(images)
        self._metrics.padded_slots.inc(run.bucket - images)
        if run.is_cold:
            self._metrics.cold_batches.inc()
        if run.is_wide:
            self._metrics.wide_batches.inc()
        actual_s = run.finished - run.started
        if actual_s and run.predicted_s:
            self._metrics.prediction_error.observe(abs(run.predicted_s - actual_s) / actual_s)
