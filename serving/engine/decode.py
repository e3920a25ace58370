"""Bytes -> pixels, on threads of its own or on those of the devices.

Nothing interrupts an image that is being decoded, and the earliest deadline comes first only among
those that wait. So images that are slow to decode have threads of their own, however many of them
there are, and the others find a thread that is soon free. Those threads run in the background: the
kernel lets them compute on every core that nothing else needs, and takes it from them at once.
"""

import time

from images.transform import Pixels, Transform
from serving.engine.answers import Answers
from serving.engine.batcher import Batcher, closing
from serving.engine.decode_latency import DecodeLatency
from serving.engine.job import ImageJob
from serving.engine.latency import Clock
from serving.engine.queue import BACKGROUND_NICENESS, NICENESS, DeadlineQueue, compute_thread
from serving.errors import InternalError, ServingError


class Decoder:
    """Decodes one job; any thread may call.

    Args:
        transform: the bundle's.
        max_image_pixels: largest image before the transform, in pixels.
        answers: gets the jobs that cannot be decoded.
        latency: learns how long it takes.
        clock: monotonic time, in seconds.
        in_background: whether its thread often waits for a core: then only the time in which it has
            one says how long an image takes.
    """

    def __init__(
        self,
        transform: Transform,
        max_image_pixels: int,
        answers: Answers,
        latency: DecodeLatency,
        clock: Clock,
        *,
        in_background: bool = False,
    ) -> None:
        self._in_background = in_background
        self._transform, self._max_image_pixels = transform, max_image_pixels
        self._answers, self._latency, self._clock = answers, latency, clock

    def __call__(self, job: ImageJob, out: Pixels) -> bool:
        """Decode a job into `out`, uint8 (height, width, 3); raise nothing.

        Returns False if it ended here: it was dead, or its image is broken.
        """
        job.decode_started = self._clock()
        if job.is_dead(job.decode_started):
            self._answers.drop([job])
            return False
        worked = time.thread_time()
        try:
            out[:] = job.source.pixels(self._transform, self._max_image_pixels)
        except ServingError as error:
            self._answers.fail([job], error)
        except Exception as error:  # noqa: BLE001 - a bug must cost one image, not its batch
            self._answers.fail([job], InternalError.logged(error))
        else:
            job.pixels, job.decoded, job.decode_s = out, self._clock(), 0.0
            self._learn(job, time.thread_time() - worked)
            return True
        self._latency.observe_failure(job.lease.size, time.thread_time() - worked)
        return False

    def _learn(self, job: ImageJob, worked_s: float) -> None:
        seconds = worked_s if self._in_background else job.decoded - job.decode_started
        self._latency.observe(job.lease.size, seconds, worked_s, job.decoded)


class DecodePool:
    """Threads that decode into slots, earliest deadline first, ahead of the batcher.

    The decoders release Python's lock.

    Args:
        threads: how many; 0 if devices decode their own batches.
        decode: decodes one job.
        batcher: gets the jobs that are decoded.
        answers: gets the jobs that come when the pool is closed.
        in_background: whether all other threads come first.
    """

    def __init__(
        self,
        threads: int,
        decode: Decoder,
        batcher: Batcher,
        answers: Answers,
        *,
        in_background: bool = False,
    ) -> None:
        self.threads, self._decode = threads, decode
        self._batcher, self._answers = batcher, answers
        self.queue = DeadlineQueue()
        name = "background" if in_background else "decode"
        niceness = BACKGROUND_NICENESS if in_background else NICENESS
        self._workers = [compute_thread(name, self._run, niceness) for _ in range(threads)]

    def start(self) -> None:
        """Begin to decode."""
        for worker in self._workers:
            worker.start()

    def put(self, jobs: list[ImageJob]) -> None:
        """Decode jobs and hand them on; if devices decode, hand them on at once."""
        if not self.threads:
            self._batcher.put(jobs)
        elif not self.queue.put(jobs):
            self._answers.fail(jobs, closing())

    def step(self) -> bool:
        """Decode the next job, waiting for one; return False when the pool is closed."""
        with self.queue.lock:
            if not self.queue.wait():
                return False
            job = self.queue.pop()
        if self._decode(job, job.lease.slot):
            self._batcher.put([job])
        return True

    def close(self) -> None:
        """Wait for the images that are being decoded. Close the queue first."""
        for worker in self._workers:
            if worker.is_alive():
                worker.join()

    def _run(self) -> None:
        while self.step():
            pass
