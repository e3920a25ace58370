"""Who may enter: there is room, and the deadline can be met."""

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from serving.engine.device import Device, State
from serving.engine.forecast import Forecast, Foreseen, Outlook
from serving.engine.job import Call, ImageJob, due
from serving.engine.latency import Clock
from serving.engine.pixel_pool import PixelPool
from serving.engine.sources import Size, Source
from serving.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    UnavailableError,
)
from serving.metrics import ModelMetrics, Refusal

LONGEST_RETRY_MS = 10_000
# How much of the mean number of images per request the latest request is.
LATEST = 0.05


class Limits(NamedTuple):
    """What may be in flight at once: images, bytes as they came, pixels before the transform."""

    images: int
    nbytes: int
    pixels: int


LEAST = Limits(1, 0, 0)
LIMITS: dict[str, tuple[Refusal, str]] = {
    "images": ("queue_full", "slots"),
    "nbytes": ("bytes", "bytes in flight"),
    "pixels": ("pixels", "pixels in flight"),
}


class Admission:
    """Counts what is in flight and refuses what is too much or too late; any thread may call.

    Args:
        pool: its slots are the limit on images.
        limits: what may be in flight.
        max_image_pixels: largest image before the transform, in pixels.
        forecast: when an image would be answered.
        devices: the model's.
        sweep: takes jobs whose callers have left out of the queues, to make room.
        metrics: where refusals are counted.
        clock: monotonic time, in seconds.
    """

    def __init__(
        self,
        pool: PixelPool,
        limits: Limits,
        max_image_pixels: int,
        forecast: Forecast,
        devices: Sequence[Device],
        sweep: Callable[[], list[ImageJob]],
        metrics: ModelMetrics,
        clock: Clock,
    ) -> None:
        self._pool, self._limits, self._max_image_pixels = pool, limits, max_image_pixels
        self._forecast, self._devices = forecast, devices
        self._sweep, self._metrics, self._clock = sweep, metrics, clock
        self.nbytes = self._pixels = 0
        self._images_per_request = 1.0
        self._lock = threading.Lock()

    def admit(self, sources: Sequence[Source], nbytes: int, call: Call) -> list[ImageJob]:
        """Return a job for each image that can be answered in time; tell the call of the others.

        No image is looked at where `nbytes`, what all take at least, or the time refuses them all.

        Raises:
            InvalidRequestError: it is more than may ever be in flight.
            OverloadedError: there is no room now.
            DeadlineExceededError: the deadline has passed or cannot be met whatever the images are.
            UnavailableError: no device answers.
        """
        with self._lock:
            now, images = self._clock(), len(sources)
            self._images_per_request += LATEST * (images - self._images_per_request)
            outlook = self._enter(now, Limits(images, nbytes, 0), call.due, images)
            sizes = [source.size(self._max_image_pixels) for source in sources]
            self._check_room(_sum(sizes), images)
            jobs = self._jobs(now, sources, sizes, call, outlook)
            self._acquire(jobs)
        return jobs

    def check(self, deadline: float) -> None:
        """Raise what `admit` raises for a single image that costs nothing.

        It is counted as so many images as requests lately had.
        """
        with self._lock:
            now = self._clock()
            self._enter(now, LEAST, due(now, deadline), self._images_per_request)

    def release(self, jobs: Iterable[ImageJob]) -> None:
        """Give back what jobs took."""
        with self._lock:
            self._give_back(jobs)

    def _enter(self, now: float, least: Limits, deadline: float, images: float) -> Outlook | None:
        """Return what is ahead of a request; raise where it is refused whatever its images are."""
        serving = [device for device in self._devices if device.state is State.SERVING]
        if not serving and all(device.state is State.BROKEN for device in self._devices):
            self._metrics.reject("not_ready", images)
            raise UnavailableError("the model's devices are lost; they are being opened anew")
        self._check_room(least, images)
        outlook = self._forecast.outlook(now, deadline, serving)
        if why := _lateness(now, deadline, outlook.foresee() if outlook else None):
            self._metrics.reject("deadline", images)
            raise DeadlineExceededError(why)
        return outlook

    def _jobs(
        self,
        now: float,
        sources: Sequence[Source],
        sizes: Sequence[Size],
        call: Call,
        outlook: Outlook | None,
    ) -> list[ImageJob]:
        jobs: list[ImageJob] = []
        before_s = 0.0
        for index, (source, size) in enumerate(zip(sources, sizes, strict=True)):
            decode_s = self._forecast.decode_s(now, size)
            foreseen = outlook.foresee(len(jobs), before_s, decode_s) if outlook else None
            if why := _lateness(now, call.due, foreseen):
                self._metrics.reject("deadline", 1)
                call.keep(index, DeadlineExceededError(why))
            else:
                wait_s = self._long_wait_s(foreseen)
                jobs.append(ImageJob(source, size, call, index, call.due, now, decode_s, wait_s))
                before_s += decode_s
        return jobs

    def _long_wait_s(self, foreseen: Foreseen | None) -> float:
        wait_s = foreseen.wait_s if foreseen else 0.0
        return wait_s if wait_s > self._forecast.long_wait_s() else 0.0

    def _give_back(self, jobs: Iterable[ImageJob]) -> None:
        for job in jobs:
            self._pool.release(job.slot)
            self.nbytes -= job.size.nbytes
            self._pixels -= job.size.pixels

    def _acquire(self, jobs: list[ImageJob]) -> None:
        for job, slot in zip(jobs, self._pool.acquire(len(jobs)), strict=True):
            job.slot = slot
            self.nbytes += job.size.nbytes
            self._pixels += job.size.pixels

    def _check_room(self, request: Limits, images: float) -> None:
        if self._lacking(request):
            self._give_back(self._sweep())
            if lacking := self._lacking(request):
                self._refuse(lacking, request, images)

    def _lacking(self, request: Limits) -> str | None:
        limits = self._limits
        if self._pool.taken + request.images > limits.images:
            return "images"
        if self.nbytes + request.nbytes > limits.nbytes:
            return "nbytes"
        return "pixels" if self._pixels + request.pixels > limits.pixels else None

    def _refuse(self, name: str, request: Limits, images: float) -> None:
        reason, unit = LIMITS[name]
        limit, needed = getattr(self._limits, name), getattr(request, name)
        self._metrics.reject(reason, images)
        if needed > limit:
            raise InvalidRequestError(
                f"the request needs {needed} {unit}, this server has {limit}; send less at once"
            )
        taken = getattr(Limits(self._pool.taken, self.nbytes, self._pixels), name)
        raise OverloadedError(
            f"{taken} of {limit} {unit} are taken, the request needs {needed}",
            self._retry_after_ms(),
        )

    def _retry_after_ms(self) -> int:
        """Return how long the images that are in flight will take at the present speed."""
        seconds = self._pool.taken / max(self._metrics.answered.rate(), 1.0)
        return max(1, min(math.ceil(seconds * 1000), LONGEST_RETRY_MS))


def _sum(sizes: Sequence[Size]) -> Limits:
    return Limits(len(sizes), sum([s.nbytes for s in sizes]), sum([s.pixels for s in sizes]))


def _lateness(now: float, deadline: float, foreseen: Foreseen | None) -> str | None:
    """Return why a deadline cannot be met, if so."""
    if now >= deadline:
        return "the deadline had passed when the request arrived"
    if not foreseen or foreseen.finish <= deadline:
        return None
    needed_ms, left_ms = 1000 * (foreseen.finish - now), 1000 * (deadline - now)
    return (
        f"the deadline cannot be met: the answer would take {needed_ms:.0f} ms, "
        f"{left_ms:.0f} ms are left"
    )
