"""Bytes -> pixels, on threads of its own or on those of the devices.

Nothing interrupts an image that is being decoded, and the earliest deadline comes first only among
those that wait. So images that are slow to decode have threads of their own, however many of them
there are, and the others find a thread that is soon free. Those threads run in the background: the
kernel lets them compute on every core that nothing else needs, and takes it from them at once.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from images.errors import SlowImageError
from images.limits import ImageLimits
from images.transform import Pixels, Transform
from serving.engine.batcher import LOST, closing
from serving.engine.buckets import SHORT_DECODE_S
from serving.engine.decode_latency import longest_s
from serving.engine.job import ImageJob
from serving.engine.latency import Clock
from serving.engine.queue import (
    NICENESS,
    DeadlineQueue,
    compute_thread,
    thread_clock,
)
from serving.engine.sources import Size
from serving.engine.watch import Task, Worker
from serving.errors import InternalError, InvalidImageError, ServingError, UnavailableError
from serving.threads import BACKGROUND_NICENESS

# An image may be estimated to take this many times as long as one that is slow to decode: the
# estimates are upper bounds, and most images take half as long.
ESTIMATE = 2.0


class Ends(Protocol):
    """Where jobs go that end without a batch."""

    def drop(self, jobs: list[ImageJob]) -> None:
        """End jobs that are cancelled, expired or too late."""

    def fail(self, jobs: list[ImageJob], error: ServingError) -> None:
        """Fail jobs."""


class Takes(Protocol):
    """Where jobs go that are decoded."""

    def put(self, jobs: Sequence[ImageJob]) -> None:
        """Take jobs."""


class Learns(Protocol):
    """What learns how long images take to decode; see `DecodeLatency`."""

    def observe(self, size: Size, seconds: float, worked_s: float, now: float) -> None:
        """Learn from an image."""

    def observe_failure(self, size: Size, worked_s: float) -> None:
        """Learn from an image that could not be decoded."""


class Pool(Protocol):
    """Threads that decode, of this process or of another.

    Attributes:
        threads: how many; 0 if devices decode their own batches.
        queue: the jobs that they have not decoded.
    """

    threads: int
    queue: DeadlineQueue

    @property
    def is_lost(self) -> bool:
        """Whether the work of all threads is overdue."""

    def put(self, jobs: list[ImageJob]) -> None:
        """Decode jobs and hand them on."""


class Decoding(NamedTuple):
    """Where the images of a caller are decoded: most of them, and those that are slow."""

    quick: Pool
    slow: Pool


class Decoder:
    """Decodes one job; any thread may call.

    Args:
        transform: the bundle's.
        image_limits: what an image may cost.
        answers: gets the jobs that cannot be decoded.
        latency: learns how long it takes.
        clock: monotonic time, in seconds.
        longest_s: returns the time above which an image is slow to decode, in seconds; None in the
            background, where threads often wait for a core: there only the time in which they have
            one says how long an image takes.
        pass_on: takes the jobs that turn out to be slow; nothing but a walk over the whole file
            shows it, which is too long for admission.
    """

    def __init__(
        self,
        transform: Transform,
        image_limits: ImageLimits,
        answers: Ends,
        latency: Learns,
        clock: Clock,
        *,
        longest_s: Callable[[], float] | None = None,
        pass_on: Callable[[ImageJob], None] | None = None,
    ) -> None:
        self._longest_s, self._pass_on = longest_s, pass_on
        self._transform, self._image_limits = transform, image_limits
        # For an image whose header looks quick, which is most of them.
        self._quick_limits = _at_most(image_limits, SHORT_DECODE_S)
        self._answers, self._latency, self._clock = answers, latency, clock

    def __call__(self, job: ImageJob, out: Pixels, worker: Worker) -> bool:
        """Decode a job into `out`, uint8 (height, width, 3), noted in `worker`; raise nothing.

        Returns False if it ended here: it was dead, its image is broken, or it was passed on.
        """
        job.decode_started = self._clock()
        if job.is_dead(job.decode_started):
            self._answers.drop([job])
            return False
        worker.task = Task("decode", worker.clock(), subject=job.lease.size)
        # A thread's own time is dear to ask for: 10 us in a virtual machine that is busy.
        is_quick = self._longest_s is not None and longest_s(job.lease.size) < SHORT_DECODE_S
        work_clock = self._clock if is_quick else time.thread_time
        worked = work_clock()
        try:
            limits = self._quick_limits if is_quick else self._limits()
            out[:] = job.source.pixels(self._transform, limits)
        except SlowImageError as error:
            if self._pass_on:
                self._pass_on(job)
                return False
            self._answers.fail([job], InvalidImageError(str(error)))
        except ServingError as error:
            self._answers.fail([job], error)
        except Exception as error:  # noqa: BLE001 - a bug must cost one image, not its batch
            self._answers.fail([job], InternalError.logged(error))
        else:
            job.pixels, job.decoded, job.decode_s = out, self._clock(), 0.0
            self._learn(job, work_clock() - worked)
            return True
        finally:
            worker.task = None
        self._latency.observe_failure(job.lease.size, work_clock() - worked)
        return False

    def _limits(self) -> ImageLimits:
        if not self._longest_s:
            return self._image_limits
        return _at_most(self._image_limits, self._longest_s())

    def _learn(self, job: ImageJob, worked_s: float) -> None:
        seconds = job.decoded - job.decode_started if self._longest_s else worked_s
        job.worked_s = worked_s
        self._latency.observe(job.lease.size, seconds, worked_s, job.decoded)


def _at_most(limits: ImageLimits, seconds: float) -> ImageLimits:
    """Return limits within which an image is not passed on as slow."""
    most_ms = max(1, int(1000 * ESTIMATE * seconds))
    return limits._replace(max_image_ms=min(limits.max_image_ms, most_ms))


class DecodePool:
    """Threads that decode into slots, earliest deadline first, ahead of the batcher.

    The decoders release Python's lock.

    Args:
        threads: how many; 0 if devices decode their own batches.
        decode: decodes one job.
        batcher: gets the jobs that are decoded.
        answers: gets the jobs that come when the pool is closed or lost.
        clock: monotonic time, in seconds.
        in_background: whether all other threads come first. A thread that waits for a core is not
            overdue: only the time in which it has one counts.

    Attributes:
        name: of its threads.
        workers: what each of them works on.
    """

    def __init__(
        self,
        threads: int,
        decode: Decoder,
        batcher: Takes,
        answers: Ends,
        clock: Clock,
        *,
        in_background: bool = False,
    ) -> None:
        self.threads, self._decode, self._in_background = threads, decode, in_background
        self._batcher, self._answers = batcher, answers
        self.queue = DeadlineQueue()
        self.name = "background" if in_background else "decode"
        niceness = BACKGROUND_NICENESS if in_background else NICENESS
        self.workers = [Worker(clock) for _ in range(threads)]
        self._threads = [
            compute_thread(self.name, partial(self._run, worker), niceness)
            for worker in self.workers
        ]

    @property
    def is_lost(self) -> bool:
        """Whether the work of all threads is overdue."""
        return self.threads > 0 and all(worker.overdue for worker in self.workers)

    def start(self) -> None:
        """Begin to decode."""
        for thread in self._threads:
            thread.start()

    def put(self, jobs: list[ImageJob]) -> None:
        """Decode jobs and hand them on; if devices decode, hand them on at once."""
        if not self.threads:
            self._batcher.put(jobs)
        elif not self.queue.put(jobs):
            self._answers.fail(jobs, closing())
        else:  # the pool may be lost since they were admitted
            self.fail_if_lost()

    def take_over(self, job: ImageJob) -> None:
        """Decode a job that another thread has found to be slow."""
        job.lease.slow_down()
        job.wait_s = 0.0  # predicted for another way
        self.put([job])

    def fail_if_lost(self) -> None:
        """Fail the jobs that wait if the work of all threads is overdue."""
        if self.is_lost:
            self._answers.fail(self.queue.clear(), UnavailableError(LOST))

    def step(self, worker: Worker) -> bool:
        """Decode the next job, waiting for one; return False when the pool is closed."""
        with self.queue.lock:
            if not self.queue.wait():
                return False
            job = self.queue.pop()
        if self._decode(job, job.lease.slot, worker):
            self._batcher.put([job])
        return True

    def close(self) -> None:
        """Wait for the images that are being decoded, however long. Close the queue first."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _run(self, worker: Worker) -> None:
        if self._in_background:
            worker.clock = thread_clock()
        while self.step(worker):
            pass
