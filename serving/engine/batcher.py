"""Jobs wait here for a device: earliest deadline first, no one who has left among them."""

import math
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from serving.backends.backend import fit
from serving.engine.buckets import Buckets
from serving.engine.deadline_queue import Ahead, DeadlineQueue
from serving.engine.job import ImageJob
from serving.engine.latency import BatchLatency, Clock
from serving.metrics import BatchReason


class Batch(NamedTuple):
    """Jobs that run together, why they are not more, and whether the device waited for them."""

    jobs: list[ImageJob]
    reason: BatchReason
    after_idling: bool = True


class Batcher:
    """Forms a batch at the moment at which a device is free to run it; any thread may call.

    Nothing here waits for a batch to fill: batches grow while all devices are busy. A device takes
    its share of what waits, so that a burst does not end as one batch on one of several devices.
    Jobs may come undecoded: then the device decodes them first, and a batch takes no image whose
    decoding would make the first one late.

    Args:
        buckets: batch sizes that run; a batch fills its bucket while there are jobs.
        latency: how long they take.
        devices: tells how many devices take from this batcher now, at least 1.
        clock: monotonic time, in seconds.
        on_dead: gets the jobs that left the queue without a batch: cancelled, expired, or too
            late for the smallest one.
    """

    def __init__(
        self,
        *,
        buckets: Buckets,
        latency: BatchLatency,
        devices: Callable[[], int],
        clock: Clock,
        on_dead: Callable[[list[ImageJob]], None],
    ) -> None:
        self._buckets, self._latency, self._devices = buckets, latency, devices
        self._clock, self._on_dead = clock, on_dead
        self._queue = DeadlineQueue()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        """Number of jobs that wait, those included whose caller has left unnoticed."""
        return len(self._queue)

    def ahead(self, deadline: float) -> Ahead:
        """Return what comes before a new job with this deadline."""
        return self._queue.ahead(deadline)

    def is_full(self) -> bool:
        """Whether so many jobs wait that each device can take a full batch."""
        return len(self._queue) >= self._devices() * self._buckets.fast()[-1]

    def put(self, jobs: Sequence[ImageJob]) -> bool:
        """Add jobs; return False when the batcher is closed."""
        now = self._clock()
        with self._changed:
            if not self._closed:
                for job in jobs:
                    job.queued = now
                    self._queue.push(job)
                self._changed.notify(len(jobs))
            return not self._closed

    def take(self) -> Batch | None:
        """Return the next batch as soon as there is one; None when the batcher is closed."""
        idled = False
        while True:
            with self._changed:
                idled = idled or not self._queue
                self._changed.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return None
            if batch := self.poll():
                return batch._replace(after_idling=idled)
            idled = True

    def poll(self) -> Batch | None:
        """Return the next batch, or None where no live job waits."""
        dead: list[ImageJob] = []
        with self._changed:
            now = self._clock()
            waiting = len(self._queue)
            first = self._next(now, math.inf, dead)
            batch = self._fill(first, waiting, now, dead) if first else None
        if dead:
            self._on_dead(dead)
        return batch

    def sweep(self, now: float) -> list[ImageJob]:
        """Remove and return the dead jobs."""
        with self._changed:
            return self._queue.sweep(now)

    def clear(self) -> list[ImageJob]:
        """Remove and return all jobs."""
        with self._changed:
            return self._queue.clear()

    def close(self) -> list[ImageJob]:
        """Wake all who wait in `take`; return the jobs that waited."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self._queue.clear()

    def _fill(self, first: ImageJob, waiting: int, now: float, dead: list[ImageJob]) -> Batch:
        """Return a batch of the jobs' share for one device, as large as the first job can bear."""
        decode_s, left_s = first.decode_s, first.deadline - now
        fast = self._buckets.fast(decode_s)
        share = math.ceil(waiting / self._devices())
        wanted = fit(fast, min(share, fast[-1]))
        size = self._buckets.in_time(_up_to(fast, wanted), left_s, decode_s)
        jobs, spare_s = [first], left_s - self._latency.bound(size) - decode_s
        while len(jobs) < size and (job := self._next(now, spare_s, dead)):
            jobs.append(job)
            spare_s -= job.decode_s
        return Batch(jobs, self._reason(len(jobs), size, share))

    def _reason(self, images: int, size: int, share: int) -> BatchReason:
        largest = self._buckets.efficient()[-1]
        if images < size:  # and those that are left take too long to decode
            return "deadline" if self._queue else "device_free"
        if share <= size < largest:
            return "device_free"
        return "full" if size == largest else "deadline"

    def _next(self, now: float, spare_s: float, dead: list[ImageJob]) -> ImageJob | None:
        """Take out the next live job, unless it takes longer to decode than there is to spare."""
        is_known = not self._latency.is_stale(now)
        smallest_s = self._latency.usual(self._buckets.smallest) if is_known else 0.0
        while self._queue:
            job = self._queue.first()
            if job.is_dead(now + smallest_s + (job.decode_s if is_known else 0.0)):
                dead.append(self._queue.pop())
            elif job.decode_s and job.decode_s > spare_s:
                return None
            else:
                return self._queue.pop()
        return None


def _up_to(sizes: Sequence[int], largest: int) -> Sequence[int]:
    return [size for size in sizes if size <= largest]
