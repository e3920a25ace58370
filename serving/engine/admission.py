"""Decides which images may enter: those that there is room for and that can be in time."""

import math
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Protocol

from images.limits import ImageLimits
from serving.engine.answers import Answers
from serving.engine.batcher import LOST, Batcher
from serving.engine.decode import Decoding
from serving.engine.decode_latency import DecodeTime
from serving.engine.forecast import Backlog, Estimate, Forecast
from serving.engine.job import Caller, ImageJob, Waiter
from serving.engine.queue import DeadlineQueue
from serving.engine.room import NOTHING, Lack, Lease, Limits, Room, total
from serving.engine.sources import Size, Source
from serving.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    UnavailableError,
)
from serving.metrics import ModelMetrics, Refusal

LONGEST_RETRY_MS = 10_000
# A job may be displaced by one that has less than half of its time left.
FAR = 2.0
# For each limit, the reason under which its refusals are counted, and what they say is lacking.
LACKING: dict[str, tuple[Refusal, str]] = {
    "images": ("queue_full", "slots"),
    "nbytes": ("bytes", "bytes in flight"),
    "pixels": ("pixels", "pixels in flight"),
}
# Whose limit it is.
OF = {
    "all": "",
    "slow": " for images that are slow to decode",
    "caller": " that one caller may have (--max-share)",
}


class Sources(Protocol):
    """The images of a request; they may be copied out of it only when they are iterated over."""

    def __len__(self) -> int:
        """Number of images."""

    def __iter__(self) -> Iterator[Source]:
        """Return them, in order."""


class Admission:
    """Refuses images that there is no room for, or that would be late; any thread may call.

    Args:
        room: what may be in flight.
        image_limits: what an image may cost.
        forecast: when an image would be answered.
        batcher: what images must pass once they are decoded.
        answers: gets the jobs that are dead, or give way.
        metrics: counts refusals.

    Attributes:
        decodings: all places where images are decoded, in whose queues dead jobs may be; replaced
            as a whole.
    """

    def __init__(
        self,
        room: Room,
        image_limits: ImageLimits,
        forecast: Forecast,
        batcher: Batcher,
        answers: Answers,
        metrics: ModelMetrics,
    ) -> None:
        self._room, self._image_limits = room, image_limits
        self._forecast, self._batcher = forecast, batcher
        self.decodings: tuple[Decoding, ...] = ()
        self._answers, self._metrics = answers, metrics

    @property
    def is_used(self) -> bool:
        """Whether an image is in flight."""
        return self._room.taken.images > 0

    @property
    def slow_images(self) -> int:
        """How many images wait that are slow to decode, wherever that is."""
        return sum(len(decoding.slow.queue) for decoding in self.decodings)

    def admit(
        self,
        sources: Sources,
        nbytes: int,
        waiter: Waiter,
        caller: Caller,
        decoding: Decoding,
        now: float,
    ) -> list[ImageJob]:
        """Return a job for each image that can be answered in time; the waiter gets the refusals.

        No image is read if all are refused because of `nbytes`, the least that they take in memory,
        or because of the deadline.

        Raises:
            InvalidRequestError: the images are more than may ever be in flight.
            OverloadedError: there is no room for them now.
            DeadlineExceededError: the deadline has passed or cannot be met by any image.
            UnavailableError: no device answers, or no thread decodes.
        """
        images = len(sources)
        if decoding.quick.is_lost or self._batcher.is_lost:
            self._metrics.reject("not_ready", images)
            raise UnavailableError(LOST)
        name = caller.name if self._room.has_shares else ""
        self._make_room(now, waiter.due, Limits(images, nbytes, 0), NOTHING, name)
        backlog = self._forecast.backlog(now, waiter.due, decoding)
        soonest = backlog.estimate() if backlog else None
        if why := _lateness(now, waiter.due, soonest):
            self._metrics.reject("deadline", images)
            raise DeadlineExceededError(why)
        read = list(sources)
        sizes = [source.size(self._image_limits) for source in read]
        times = [self._forecast.decode_time(now, size) for size in sizes]
        leases = self._take(
            now, waiter.due, sizes, [self._forecast.is_slow(time) for time in times], name
        )
        return self._jobs(now, read, leases, times, waiter, backlog, soonest)

    def _jobs(
        self,
        now: float,
        sources: Sequence[Source],
        leases: Sequence[Lease],
        times: Sequence[DecodeTime],
        waiter: Waiter,
        backlog: Backlog | None,
        soonest: Estimate | None,
    ) -> list[ImageJob]:
        jobs: list[ImageJob] = []
        # A wait is learned from if it is long, and known.
        long_wait_s = backlog.long_wait_s if backlog and not backlog.ahead.guesses else math.inf
        # Of the images before, those that are slow to decode and those that are not.
        before = {False: (0, 0.0), True: (0, 0.0)}
        for index, (source, lease, time) in enumerate(zip(sources, leases, times, strict=True)):
            images, before_s = before[lease.is_slow]
            decode_s, estimate = time.known_s, soonest
            if backlog and lease.is_slow:
                estimate = backlog.estimate_slow(before_s, decode_s)
            elif backlog and (images or decode_s):
                estimate = backlog.estimate(images, before_s, decode_s)
            if why := _lateness(now, waiter.due, estimate):
                lease.close()
                self._metrics.reject("deadline", 1)
                waiter.put(index, DeadlineExceededError(why))
            else:
                job = ImageJob(source, lease, waiter, index, time.usual_s, not time.is_known)
                if estimate and not lease.is_slow and estimate.wait_s > long_wait_s:
                    job.wait_s = estimate.wait_s
                jobs.append(job)
                before[lease.is_slow] = images + 1, before_s + decode_s
        return jobs

    def _take(
        self, now: float, due: float, sizes: Sequence[Size], slow: Sequence[bool], caller: str
    ) -> list[Lease]:
        """Return a lease per image; raise if there is no room for all."""
        while (leases := self._room.take(sizes, slow, caller)) is None:
            self._make_room(now, due, total(sizes), total([*compress(sizes, slow)]), caller)
        return leases

    def _make_room(
        self, now: float, due: float, request: Limits, slow: Limits, caller: str
    ) -> None:
        """Remove dead jobs, then far less urgent ones; raise if there is still no room."""
        if self._room.lacking(request, slow, caller):
            for queue in self._queues():
                if dead := queue.sweep(now):
                    self._answers.drop(dead)
            while lack := self._room.lacking(request, slow, caller):
                if not self._displace(lack, now + FAR * (due - now)):
                    self._refuse(lack, request.images, slow.images)

    def _displace(self, lack: Lack, due: float) -> bool:
        """Remove a job that is due later than that, and has not begun; return whether one was.

        Otherwise a caller who can wait for long could fill the room, and keep out those who cannot:
        the earliest deadline comes first only among those that are in.
        """
        if lack.of != "all" or lack.needed > lack.limit:
            return False
        for queue in self._queues():
            if job := queue.pop_last(due):
                reason = "it gave way to images that are due much earlier"
                self._answers.fail([job], OverloadedError(reason, self._retry_after_ms()))
                return True
        return False

    def _queues(self) -> Iterator[DeadlineQueue]:
        for decoding in self.decodings:
            yield decoding.quick.queue
            yield decoding.slow.queue
        yield self._batcher.queue

    def _refuse(self, lack: Lack, images: int, slow_images: int) -> None:
        reason, unit = LACKING[lack.name]
        unit += OF[lack.of]
        self._metrics.reject("share" if lack.of == "caller" else reason, images)
        # A single slow image may enter whatever its size, once no other is in flight.
        if lack.needed > lack.limit and not (lack.of == "slow" and slow_images == 1):
            raise InvalidRequestError(
                f"the request needs {lack.needed} {unit}, this server has {lack.limit}; "
                "send less at once"
            )
        raise OverloadedError(
            f"{lack.taken} of {lack.limit} {unit} are taken, the request needs {lack.needed}",
            self._retry_after_ms(),
        )

    def _retry_after_ms(self) -> int:
        """Return how long the images in flight will take at the present rate, in milliseconds."""
        seconds = self._room.taken.images / max(self._metrics.answered.rate(), 1.0)
        return max(1, min(math.ceil(seconds * 1000), LONGEST_RETRY_MS))


def _lateness(now: float, due: float, estimate: Estimate | None) -> str | None:
    """Return why an image cannot be answered in time, if it cannot."""
    if now >= due:
        return "the deadline had passed when the request arrived"
    if not estimate or estimate.finish <= due:
        return None
    needed_ms, left_ms = 1000 * (estimate.finish - now), 1000 * (due - now)
    return (
        f"the deadline cannot be met: the answer would take {needed_ms:.1f} ms, "
        f"and {left_ms:.1f} ms are left"
    )
