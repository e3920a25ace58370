"""Bytes -> pixels, on threads ahead of the devices."""

from images.transform import Transform
from serving.engine.answers import Answers
from serving.engine.batcher import Batcher
from serving.engine.job import ImageJob
from serving.engine.latency import Clock, DecodeLatency
from serving.engine.queue import DeadlineQueue, compute_thread
from serving.errors import InternalError, ServingError


class DecodePool:
    """Threads that decode jobs into their slots, earliest deadline first.

    The decoders release Python's lock.

    Args:
        threads: how many.
        transform: the bundle's.
        max_image_pixels: largest image before the transform, in pixels.
        batcher: gets the jobs that are decoded.
        answers: gets those that cannot be.
        latency: learns how long it takes.
        clock: monotonic time, in seconds.
    """

    def __init__(
        self,
        threads: int,
        transform: Transform,
        max_image_pixels: int,
        *,
        batcher: Batcher,
        answers: Answers,
        latency: DecodeLatency,
        clock: Clock,
    ) -> None:
        self.threads = threads
        self._transform, self._max_image_pixels = transform, max_image_pixels
        self._batcher, self._answers = batcher, answers
        self._latency, self._clock = latency, clock
        self.queue = DeadlineQueue()
        self._workers = [compute_thread("decode", self._run) for _ in range(threads)]

    def start(self) -> None:
        """Begin to decode."""
        for worker in self._workers:
            worker.start()

    def step(self) -> bool:
        """Decode the next job, waiting for one; return False when the pool is closed."""
        with self.queue.lock:
            if not self.queue.wait():
                return False
            job = self.queue.pop()
        if self._decode(job):
            self._batcher.put([job])
        return True

    def close(self) -> list[ImageJob]:
        """Finish the images that are being decoded; return the jobs that waited."""
        waiting = self.queue.close()
        for worker in self._workers:
            if worker.is_alive():
                worker.join()
        return waiting

    def _run(self) -> None:
        while self.step():
            pass

    def _decode(self, job: ImageJob) -> bool:
        """Decode a job; return False if it ended here: it was dead, or its image is broken."""
        job.decode_started = self._clock()
        if job.is_dead(job.decode_started):
            self._answers.drop([job])
            return False
        try:
            job.lease.slot[:] = job.source.pixels(self._transform, self._max_image_pixels)
        except ServingError as error:
            self._answers.fail([job], error)
        except Exception as error:  # noqa: BLE001 - a bug must cost one image, not the thread
            self._answers.fail([job], InternalError.logged(error))
        else:
            job.decoded = self._clock()
            self._latency.observe(job.lease.size, job.decoded - job.decode_started, job.decoded)
            return True
        return False
