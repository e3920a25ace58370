"""Decoded jobs wait here for a device: earliest deadline first, no one who has left among them."""

import heapq
import itertools
import math
import threading
from collections.abc import Callable, Sequence

from serving.backends import fit
from serving.engine.job import ImageJob, split

Clock = Callable[[], float]


class Batcher:
    """Forms a batch at the moment at which a device is free to run it; any thread may call.

    Nothing here waits for a batch to fill: batches grow while all devices are busy. A device takes
    its share of what waits, so that a burst does not end as one batch on one of several devices.

    Args:
        buckets: batch sizes that run, rising; a batch fills its bucket while there are jobs.
        devices: how many devices take from this batcher.
        clock: monotonic time, in seconds.
        on_dead: gets the jobs that left the queue without a batch: cancelled, expired, or still
            there when the batcher closed.
    """

    def __init__(
        self,
        *,
        buckets: Sequence[int],
        devices: int,
        clock: Clock,
        on_dead: Callable[[list[ImageJob]], None],
    ) -> None:
        self._buckets, self._devices, self._clock, self._on_dead = buckets, devices, clock, on_dead
        self._queue: list[tuple[float, int, ImageJob]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        """Number of jobs that wait, those included whose caller has left unnoticed."""
        return len(self._queue)

    def put(self, job: ImageJob) -> None:
        """Add a decoded job."""
        with self._changed:
            if not self._closed:
                heapq.heappush(self._queue, self._entry(job))
                self._changed.notify()
                return
        self._on_dead([job])

    def take(self) -> list[ImageJob]:
        """Return the next batch as soon as there is one; empty when the batcher is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return []
            if batch := self.poll():
                return batch

    def poll(self) -> list[ImageJob]:
        """Return the next batch, or an empty one where no live job waits."""
        batch: list[ImageJob] = []
        dead: list[ImageJob] = []
        with self._changed:
            now = self._clock()
            share = math.ceil(len(self._queue) / self._devices)
            bucket = fit(self._buckets, min(share, self._buckets[-1]))
            while self._queue and len(batch) < bucket:
                job = heapq.heappop(self._queue)[2]
                (dead if job.is_dead(now) else batch).append(job)
        self._leave(dead)
        return batch

    def sweep(self) -> None:
        """Let go of every dead job at once."""
        with self._changed:
            live, dead = split((entry[2] for entry in self._queue), self._clock())
            self._queue = [self._entry(job) for job in live]
            heapq.heapify(self._queue)
        self._leave(dead)

    def close(self) -> None:
        """Let go of every job and wake all who wait in `take`."""
        with self._changed:
            self._closed = True
            left = [entry[2] for entry in self._queue]
            self._queue.clear()
            self._changed.notify_all()
        self._leave(left)

    def _entry(self, job: ImageJob) -> tuple[float, int, ImageJob]:
        return job.deadline, next(self._order), job

    def _leave(self, jobs: list[ImageJob]) -> None:
        if jobs:
            self._on_dead(jobs)
