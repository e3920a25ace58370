"""A loaded model that answers: admission -> decode pool -> batcher -> devices -> futures."""

import asyncio
import functools
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from export.contract.bundle import Bundle
from serving.backends import Backend, Placement
from serving.engine.batcher import Batcher, Clock
from serving.engine.device import BatchRun, Device
from serving.engine.job import Answer, ImageJob, Prediction
from serving.engine.pixel_pool import PixelPool
from serving.engine.sources import Source
from serving.errors import (
    DeadlineExceededError,
    InternalError,
    OverloadedError,
    ServingError,
    UnavailableError,
)
from serving.metrics import Metrics

LONGEST_RETRY_MS = 10_000
# A client whose deadline passes sends a cancel. It comes before the deadline that is known here,
# which began later by the request's way and which gRPC rounds up by as much as 1 %.
EARLY_S = 0.01
EARLY_SHARE = 0.01


class Model:
    """Answers images from one bundle.

    Args:
        bundle: the proven bundle.
        backends: its instances, each on a device (or a share of one) of its own.
        buckets: batch sizes to warm and run, rising.
        decode_threads: threads that decode.
        max_inflight_images: slots of the pixel pool.
        max_image_pixels: largest image before the transform, in pixels.
        metrics: where to count.
        clock: monotonic time, in seconds.
    """

    def __init__(
        self,
        bundle: Bundle,
        backends: Sequence[Backend],
        *,
        buckets: Sequence[int],
        decode_threads: int,
        max_inflight_images: int,
        max_image_pixels: int,
        metrics: Metrics,
        clock: Clock = time.monotonic,
    ) -> None:
        self.bundle, self.buckets, self.clock = bundle, tuple(buckets), clock
        self._max_image_pixels = max_image_pixels
        crop = bundle.manifest.transform.crop
        self._pool = PixelPool(max_inflight_images, crop.height, crop.width)
        self._batcher = Batcher(
            buckets=self.buckets, devices=len(backends), clock=clock, on_dead=self.drop
        )
        self._devices = [
            Device(backend, self.buckets, self._pool, self._batcher, self, clock)
            for backend in backends
        ]
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self.placement: Placement = backends[0].describe()
        self._metrics = metrics.model(self.name, self.version)
        self._metrics.queue_images.set_function(lambda: len(self._batcher))
        self._metrics.inflight_images.set_function(lambda: self._pool.taken)
        info = {**self.placement._asdict(), "digest": bundle.digest}
        metrics.model_info.labels(model=self.name, version=self.version, **info).set(1)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.bundle.manifest.name

    @property
    def version(self) -> str:
        """Its version."""
        return self.bundle.manifest.version

    def warm_up(self) -> None:
        """Run every bucket on every device once."""
        for device in self._devices:
            device.warm_up()

    def start(self) -> None:
        """Begin to answer, for callers on the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        for device in self._devices:
            device.start()

    def close(self) -> None:
        """Fail what still waits, finish what runs, stop all threads."""
        self._decoders.shutdown()
        self._batcher.close()
        for device in self._devices:
            device.close()

    async def classify(self, sources: Sequence[Source], deadline: float) -> list[Answer]:
        """Return an answer or an error for each image, in order, no later than `deadline`.

        Raises:
            OverloadedError: there are not enough free slots for the images.
            DeadlineExceededError: the deadline has passed already.
        """
        jobs = self._admit(sources, deadline)
        for job in jobs:
            self._decoders.submit(self._decode, job)
        futures = [job.future for job in jobs]
        try:
            await asyncio.wait(futures, timeout=deadline - self.clock())
        finally:
            # Whoever is still undone has lost its caller; it leaves at the next stage.
            for future in futures:
                future.cancel()
        return [_answer(future) for future in futures]

    def _admit(self, sources: Sequence[Source], deadline: float) -> list[ImageJob]:
        now = self.clock()
        if now >= deadline:
            self._metrics.reject("deadline", len(sources))
            raise DeadlineExceededError("the deadline had passed when the request arrived")
        jobs = [
            ImageJob(source, slot, deadline, self._loop.create_future(), now)
            for source, slot in zip(sources, self._slots(len(sources)), strict=True)
        ]
        for job in jobs:
            job.future.add_done_callback(functools.partial(self._count, job))
        return jobs

    def _slots(self, images: int) -> list[int]:
        if (slots := self._pool.acquire(images)) is None:
            self._batcher.sweep()
            slots = self._pool.acquire(images)
        if slots is None:
            self._metrics.reject("queue_full", images)
            raise OverloadedError(
                f"{self._pool.taken} of {len(self._pool)} slots are taken, "
                f"the request needs {images}",
                self._retry_after_ms(),
            )
        return slots

    def _retry_after_ms(self) -> int:
        """Return how long the images that are in flight will take at the present speed."""
        seconds = self._pool.taken / max(self._metrics.answered.rate(), 1.0)
        return min(math.ceil(seconds * 1000), LONGEST_RETRY_MS)

    def _decode(self, job: ImageJob) -> None:
        job.decode_started = self.clock()
        if job.is_dead(job.decode_started):
            self.drop([job])
            return
        transform = self.bundle.manifest.transform
        try:
            self._pool[job.slot][:] = job.source.pixels(transform, self._max_image_pixels)
        except ServingError as error:
            self.fail([job], error)
        except Exception as error:  # noqa: BLE001 - a fault of one image is not one of the pool
            self.fail([job], InternalError.logged(error))
        else:
            job.decoded = self.clock()
            self._batcher.put(job)

    def deliver(self, jobs: list[ImageJob], run: BatchRun) -> None:
        """Answer a batch, with one wake-up of the event loop."""
        self._release(jobs)
        self._loop.call_soon_threadsafe(self._resolve, jobs, run)

    def fail(self, jobs: list[ImageJob], error: ServingError) -> None:
        """Fail jobs that are still waited for."""
        self._release(jobs)
        self._loop.call_soon_threadsafe(_reject, jobs, error)

    def drop(self, jobs: list[ImageJob]) -> None:
        """Let go of jobs that are cancelled, expired, or waiting while the model closes."""
        now = self.clock()
        expired = [job for job in jobs if now >= job.deadline]
        others = [job for job in jobs if now < job.deadline]
        if expired:
            self.fail(expired, _expired())
        if others:
            self.fail(others, UnavailableError("the server is shutting down"))

    def _release(self, jobs: list[ImageJob]) -> None:
        for job in jobs:
            self._pool.release(job.slot)

    def _resolve(self, jobs: list[ImageJob], run: BatchRun) -> None:
        self._metrics.batch_images.observe(len(jobs))
        self._metrics.padded_slots.inc(run.bucket - len(jobs))
        for job, row in zip(jobs, run.probabilities, strict=True):
            if not job.future.done():
                timing = job.timing(run.started, run.finished, len(jobs))
                job.future.set_result(Prediction(row, timing))

    def _count(self, job: ImageJob, future: asyncio.Future[Answer]) -> None:
        answer = _answer(future)
        if isinstance(answer, Prediction):
            self._metrics.answered.add(1)
            self._metrics.images["ok"].inc()
            for stage, histogram in self._metrics.stages.items():
                histogram.observe(getattr(answer.timing, stage))
        elif future.cancelled() and not self._nearly_expired(job):
            self._metrics.images["cancelled"].inc()
        else:
            self._metrics.images[answer.outcome].inc()

    def _nearly_expired(self, job: ImageJob) -> bool:
        early = EARLY_S + EARLY_SHARE * (job.deadline - job.arrived)
        return self.clock() >= job.deadline - early


def _reject(jobs: list[ImageJob], error: ServingError) -> None:
    for job in jobs:
        if not job.future.done():
            job.future.set_result(error)


def _answer(future: asyncio.Future[Answer]) -> Answer:
    return _expired() if future.cancelled() else future.result()


def _expired() -> DeadlineExceededError:
    return DeadlineExceededError("the deadline passed before the image was classified")
