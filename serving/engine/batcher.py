"""Jobs wait here for a device and leave in batches, earliest deadline first."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from serving.engine.answers import Answers
from serving.engine.buckets import Buckets
from serving.engine.job import ImageJob
from serving.engine.latency import BatchLatency, Clock
from serving.engine.queue import DeadlineQueue
from serving.errors import UnavailableError
from serving.metrics import BatchReason

LOST = "the model's devices are lost; they are being reopened"


class HasFreeAt(Protocol):
    """What takes batches: a device, or the simulation of one."""

    @property
    def free_at(self) -> float:
        """When it is expected to end its batch."""


class Batch(NamedTuple):
    """Jobs that run together, why there are not more, and whether the device had to wait."""

    jobs: list[ImageJob]
    reason: BatchReason
    after_idling: bool = True


class Batcher:
    """Forms a batch at the moment when a device is free to run it; any thread may call.

    Nothing here waits for a batch to fill: batches grow while all devices are busy. A device takes
    its share of what waits, so that a burst does not end up as one batch on one of several devices.
    Jobs may arrive undecoded: then the device decodes them first, and a batch takes no image whose
    decoding would make the first one late.

    Devices say here whether they take batches. While none does, but one is being reopened, jobs
    wait; once the last one could not be reopened, those that wait fail.

    Args:
        buckets: batch sizes that run; a batch fills its bucket while there are jobs.
        latency: how long they take.
        answers: gets the jobs that leave without a batch: cancelled, expired, or too late even for
            the smallest one.
        clock: monotonic time, in seconds.
    """

    def __init__(
        self, *, buckets: Buckets, latency: BatchLatency, answers: Answers, clock: Clock
    ) -> None:
        self._buckets, self._latency = buckets, latency
        self._answers, self._clock = answers, clock
        self.queue = DeadlineQueue()
        # Replaced as a whole, so that readers need no lock.
        self.serving: tuple[HasFreeAt, ...] = ()
        self._reopening: tuple[HasFreeAt, ...] = ()

    @property
    def is_lost(self) -> bool:
        """Whether no device takes batches, nor may soon."""
        return not (self.serving or self._reopening)

    def enter(self, device: HasFreeAt) -> None:
        """Begin to form batches for a device."""
        self._move(device, serving=True)

    def pause(self, device: HasFreeAt) -> None:
        """Form no batches for a device until it enters again, which may be soon."""
        self._move(device, reopening=True)

    def leave(self, device: HasFreeAt) -> None:
        """Form no batches for a device; if none is left, fail the jobs that wait."""
        self._move(device)
        if self.is_lost:
            self._answers.fail(self.queue.clear(), UnavailableError(LOST))

    def put(self, jobs: Sequence[ImageJob]) -> None:
        """Add jobs; they fail if the batcher is closed."""
        now = self._clock()
        for job in jobs:
            job.queued = now
        if not self.queue.put(jobs):
            self._answers.fail(list(jobs), closing())

    def take(self) -> Batch | None:
        """Return the next batch as soon as there is one; None when the batcher is closed."""
        idled = False
        while True:
            with self.queue.lock:
                idled = idled or not len(self.queue)
                if not self.queue.wait():
                    return None
            if batch := self.poll():
                return batch._replace(after_idling=idled)
            idled = True

    def poll(self) -> Batch | None:
        """Return the next batch, or None if no live job waits."""
        dead: list[ImageJob] = []
        with self.queue.lock:
            now = self._clock()
            waiting = len(self.queue)
            first = self._next(now, math.inf, dead)
            batch = self._fill(first, waiting, now, dead) if first else None
        if dead:
            self._answers.drop(dead)
        return batch

    def _move(self, device: HasFreeAt, *, serving: bool = False, reopening: bool = False) -> None:
        with self.queue.lock:
            self.serving = _without(self.serving, device) + (device,) * serving
            self._reopening = _without(self._reopening, device) + (device,) * reopening

    def _fill(self, first: ImageJob, waiting: int, now: float, dead: list[ImageJob]) -> Batch:
        """Return a batch of one device's share, as large as the first job's deadline allows."""
        left_s = first.deadline - now
        share = math.ceil(waiting / max(1, len(self.serving)))
        size = self._buckets.choose(share, left_s, first.decode_s)
        jobs, spare_s = [first], left_s - self._latency.bound(size) - first.decode_s
        while len(jobs) < size and (job := self._next(now, spare_s, dead)):
            jobs.append(job)
            spare_s -= job.decode_s
        return Batch(jobs, self._reason(len(jobs), size, share))

    def _reason(self, images: int, size: int, share: int) -> BatchReason:
        largest = self._buckets.efficient()[-1]
        if images < size:  # the jobs that are left, if any, take too long to decode
            return "deadline" if len(self.queue) else "device_free"
        if share <= size < largest:
            return "device_free"
        return "full" if size == largest else "deadline"

    def _next(self, now: float, spare_s: float, dead: list[ImageJob]) -> ImageJob | None:
        """Take out the next live job, unless decoding it takes longer than there is to spare."""
        is_known = not self._latency.is_stale(now)
        smallest_s = self._latency.usual(self._buckets.smallest) if is_known else 0.0
        while len(self.queue):
            job = self.queue.first()
            if job.is_dead(now + smallest_s + (job.decode_s if is_known else 0.0)):
                dead.append(self.queue.pop())
            elif job.decode_s and job.decode_s > spare_s:
                return None
            else:
                return self.queue.pop()
        return None


def _without(devices: tuple[HasFreeAt, ...], device: HasFreeAt) -> tuple[HasFreeAt, ...]:
    return tuple(other for other in devices if other is not device)


def closing() -> UnavailableError:
    """Return the error of what waits when a model closes."""
    return UnavailableError("the server is shutting down")
