"""Jobs in the order in which they are due, and the threads that work on them."""

import bisect
import itertools
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from serving.engine.job import ImageJob
from serving.engine.latency import Clock

# Niceness that is added for threads that compute. Under overload gRPC's thread must run at once:
# requests that wait for it are neither refused nor predicted. A higher value starves the devices.
NICENESS = 4


class Ahead(NamedTuple):
    """How many jobs come first, and the time to decode those not decoded yet.

    Attributes:
        decode_s: in seconds, of those of which it is known.
        guesses: of how many jobs in the queue it is not.
    """

    images: int
    decode_s: float
    guesses: int = 0


NOTHING_AHEAD = Ahead(0, 0.0)


class DeadlineQueue:
    """Jobs, the earliest due first, then in order of arrival; any thread may call.

    It is a sorted list rather than a heap because admission must know how many jobs come before a
    new one. `lock` guards it: hold it around `wait`, `first` and `pop`, which take no lock of their
    own. `len` and `ahead` need no lock: their answer may be a moment old.
    """

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.is_closed = False
        self._entries: list[tuple[float, int, ImageJob]] = []
        self._order = itertools.count()
        self._decode_s, self._guesses = 0.0, 0

    def __len__(self) -> int:
        """Number of jobs, including dead ones."""
        return len(self._entries)

    def __iter__(self) -> Iterator[ImageJob]:
        """The jobs, in their order."""
        return (entry[2] for entry in tuple(self._entries))

    def ahead(self, due: float) -> Ahead:
        """Return what would come before a new job that is due then."""
        waiting = len(self._entries)
        if not waiting:
            return NOTHING_AHEAD
        images = min(bisect.bisect(self._entries, (due, math.inf)), waiting)
        return Ahead(images, self._decode_s * images / waiting, self._guesses)

    def put(self, jobs: Sequence[ImageJob]) -> bool:
        """Add jobs; return False if the queue is closed."""
        with self.lock:
            if not self.is_closed:
                for job in jobs:
                    bisect.insort(self._entries, (job.due, next(self._order), job))
                    self._decode_s += job.known_decode_s
                    self._guesses += job.is_guess
                self.lock.notify(len(jobs))
            return not self.is_closed

    def wait(self) -> bool:
        """Wait for a job; return False once the queue is closed. Hold `lock`."""
        self.lock.wait_for(lambda: self._entries or self.is_closed)
        return not self.is_closed

    def first(self) -> ImageJob | None:
        """Return the first job, if there is one. Hold `lock`."""
        return self._entries[0][2] if self._entries else None

    def pop(self) -> ImageJob:
        """Remove and return the first job. Hold `lock`."""
        job = self._entries.pop(0)[2]
        self._forget([job])
        return job

    def remove(self, job: ImageJob) -> bool:
        """Remove a job; return False if it is not here any more."""
        with self.lock:
            at = bisect.bisect_left(self._entries, (job.due,))
            while at < len(self._entries) and self._entries[at][0] == job.due:
                if self._entries[at][2] is job:
                    del self._entries[at]
                    self._forget([job])
                    return True
                at += 1
        return False

    def pop_last(self, due: float) -> ImageJob | None:
        """Remove and return the last job if it is due later than that."""
        with self.lock:
            if not self._entries or self._entries[-1][0] <= due:
                return None
            job = self._entries.pop()[2]
            self._forget([job])
            return job

    def sweep(self, now: float) -> list[ImageJob]:
        """Remove and return the dead jobs."""
        with self.lock:
            # Each is asked only once: it may die at any moment.
            asked = [(entry, entry[2].is_dead(now)) for entry in self._entries]
            self._entries[:] = [entry for entry, dead in asked if not dead]
            dead_jobs = [entry[2] for entry, dead in asked if dead]
            self._forget(dead_jobs)
        return dead_jobs

    def clear(self) -> list[ImageJob]:
        """Remove and return all jobs."""
        with self.lock:
            jobs = [entry[2] for entry in self._entries]
            self._entries.clear()
            self._forget(jobs)
        return jobs

    def close(self) -> list[ImageJob]:
        """Accept no more jobs and wake all waiting threads; return the jobs that waited."""
        with self.lock:
            self.is_closed = True
            self.lock.notify_all()
        return self.clear()

    def _forget(self, jobs: list[ImageJob]) -> None:
        for job in jobs:
            self._decode_s -= job.known_decode_s
            self._guesses -= job.is_guess
        if not self._entries:
            self._decode_s = 0.0  # else rounding errors would add up


def compute_thread(
    name: str, run: Callable[[], None], niceness: int = NICENESS
) -> threading.Thread:
    """Return a daemon thread, not started, that gives way to the threads that answer."""

    def give_way_and_run() -> None:
        if sys.platform == "linux":  # there each thread has a priority of its own
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), own + niceness)
        run()

    return threading.Thread(target=give_way_and_run, name=name, daemon=True)


def thread_clock() -> Clock:
    """Return a clock of the time in which the present thread has a core; any thread may read it.

    Only Linux makes threads of low priority wait for a core: elsewhere it is monotonic time.
    """
    if sys.platform != "linux":
        return time.monotonic
    number = time.pthread_getcpuclockid(threading.get_ident())

    def read() -> float:
        try:
            return time.clock_gettime(number)
        except OSError:  # the thread has ended, and its work with it
            return 0.0

    return read
