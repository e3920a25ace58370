"""Jobs in the order of their deadlines."""

import bisect
import itertools
import math

from serving.engine.job import ImageJob


class DeadlineQueue:
    """Jobs, earliest deadline first, equal deadlines in order of arrival.

    A sorted list and no heap: how many jobs come before a new one must be known, too. Its owner
    locks what changes it; `ahead` is one call into C and needs no lock.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, ImageJob]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, job: ImageJob) -> None:
        """Add a job."""
        bisect.insort(self._entries, (job.deadline, next(self._order), job))

    def pop(self) -> ImageJob:
        """Remove and return the first job."""
        return self._entries.pop(0)[2]

    def ahead(self, deadline: float) -> int:
        """Return how many jobs would come before a new one with this deadline."""
        return bisect.bisect(self._entries, (deadline, math.inf))

    def sweep(self, now: float) -> list[ImageJob]:
        """Remove and return the dead jobs."""
        # Each is asked once: it may die at any moment.
        asked = [(entry, entry[2].is_dead(now)) for entry in self._entries]
        self._entries[:] = [entry for entry, dead in asked if not dead]
        return [entry[2] for entry, dead in asked if dead]

    def clear(self) -> list[ImageJob]:
        """Remove and return all jobs."""
        jobs = [entry[2] for entry in self._entries]
        self._entries.clear()
        return jobs
