"""Jobs in the order of their deadlines."""

import bisect
import itertools
import math
from typing import NamedTuple

from serving.engine.job import ImageJob


class Ahead(NamedTuple):
    """How many jobs come first, and how long decoding those takes that are not decoded yet."""

    images: int
    decode_s: float


NOTHING = Ahead(0, 0.0)


class DeadlineQueue:
    """Jobs, earliest deadline first, equal deadlines in order of arrival.

    A sorted list and no heap: how many jobs come before a new one must be known, too. Its owner
    locks what changes it. `ahead` needs no lock: what it says may be a moment old.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, ImageJob]] = []
        self._order = itertools.count()
        self._decode_s = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, job: ImageJob) -> None:
        """Add a job."""
        bisect.insort(self._entries, (job.deadline, next(self._order), job))
        self._decode_s += job.decode_s

    def first(self) -> ImageJob:
        """Return the first job."""
        return self._entries[0][2]

    def pop(self) -> ImageJob:
        """Remove and return the first job."""
        job = self._entries.pop(0)[2]
        self._forget([job])
        return job

    def ahead(self, deadline: float) -> Ahead:
        """Return what would come before a new job with this deadline."""
        waiting = len(self._entries)
        if not waiting:
            return NOTHING
        images = min(bisect.bisect(self._entries, (deadline, math.inf)), waiting)
        return Ahead(images, self._decode_s * images / waiting)

    def sweep(self, now: float) -> list[ImageJob]:
        """Remove and return the dead jobs."""
        # Each is asked once: it may die at any moment.
        asked = [(entry, entry[2].is_dead(now)) for entry in self._entries]
        self._entries[:] = [entry for entry, dead in asked if not dead]
        dead_jobs = [entry[2] for entry, dead in asked if dead]
        self._forget(dead_jobs)
        return dead_jobs

    def clear(self) -> list[ImageJob]:
        """Remove and return all jobs."""
        jobs = [entry[2] for entry in self._entries]
        self._entries.clear()
        self._forget(jobs)
        return jobs

    def _forget(self, jobs: list[ImageJob]) -> None:
        left_s = self._decode_s - sum(job.decode_s for job in jobs)
        self._decode_s = left_s if self._entries else 0.0  # else rounding would add up
