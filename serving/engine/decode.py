"""Bytes -> pixels, on threads of its own or on those of the devices."""

from images.limits import ImageLimits
from images.transform import Pixels, Transform
from serving.engine.answers import Answers
from serving.engine.batcher import Batcher, closing
from serving.engine.job import ImageJob
from serving.engine.latency import Clock, DecodeLatency
from serving.engine.queue import DeadlineQueue, compute_thread
from serving.errors import InternalError, ServingError


class Decoder:
    """Decodes one job; any thread may call.

    Args:
        transform: the bundle's.
        image_limits: what an image may cost.
        answers: gets the jobs that cannot be decoded.
        latency: learns how long it takes.
        clock: monotonic time, in seconds.
    """

    def __init__(
        self,
        transform: Transform,
        image_limits: ImageLimits,
        answers: Answers,
        latency: DecodeLatency,
        clock: Clock,
    ) -> None:
        self._transform, self._image_limits = transform, image_limits
        self._answers, self._latency, self._clock = answers, latency, clock

    def __call__(self, job: ImageJob, out: Pixels) -> bool:
        """Decode a job into `out`, uint8 (height, width, 3); raise nothing.

        Returns False if it ended here: it was dead, or its image is broken.
        """
        job.decode_started = self._clock()
        if job.is_dead(job.decode_started):
            self._answers.drop([job])
            return False
        try:
            out[:] = job.source.pixels(self._transform, self._image_limits)
        except ServingError as error:
            self._answers.fail([job], error)
        except Exception as error:  # noqa: BLE001 - a bug must cost one image, not its batch
            self._answers.fail([job], InternalError.logged(error))
        else:
            job.pixels, job.decoded, job.decode_s = out, self._clock(), 0.0
            self._latency.observe(job.lease.size, job.decoded - job.decode_started, job.decoded)
            return True
        return False


class DecodePool:
    """Threads that decode into slots, earliest deadline first, ahead of the batcher.

    The decoders release Python's lock.

    Args:
        threads: how many; 0 if devices decode their own batches.
        decode: decodes one job.
        batcher: gets the jobs that are decoded.
        answers: gets the jobs that come when the pool is closed.
    """

    def __init__(self, threads: int, decode: Decoder, batcher: Batcher, answers: Answers) -> None:
        self.threads, self._decode = threads, decode
        self._batcher, self._answers = batcher, answers
        self.queue = DeadlineQueue()
        self._workers = [compute_thread("decode", self._run) for _ in range(threads)]

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
