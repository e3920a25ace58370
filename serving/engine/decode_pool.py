"""Threads that decode; the image with the earliest deadline first."""

import threading
from collections.abc import Callable, Sequence

from serving.engine.deadline_queue import Ahead, DeadlineQueue
from serving.engine.job import ImageJob
from serving.engine.threads import compute_thread


class DecodePool:
    """A queue by deadline in front of threads; the decoders release the GIL.

    Args:
        threads: how many; 0 where devices decode.
        decode: decodes one job on a thread of the pool; raises nothing.
    """

    def __init__(self, threads: int, decode: Callable[[ImageJob], None]) -> None:
        self.threads, self._decode = threads, decode
        self._queue = DeadlineQueue()
        self._changed = threading.Condition()
        self._closed = False
        self._workers = [compute_thread("decode", self._run) for _ in range(threads)]

    def __len__(self) -> int:
        """Number of jobs that wait."""
        return len(self._queue)

    def start(self) -> None:
        """Begin to decode."""
        for worker in self._workers:
            worker.start()

    def put(self, jobs: Sequence[ImageJob]) -> bool:
        """Add jobs; return False when the pool is closed."""
        with self._changed:
            if not self._closed:
                for job in jobs:
                    self._queue.push(job)
                self._changed.notify(len(jobs))
            return not self._closed

    def ahead(self, deadline: float) -> Ahead:
        """Return what comes before a new job with this deadline."""
        return self._queue.ahead(deadline)

    def sweep(self, now: float) -> list[ImageJob]:
        """Remove and return the dead jobs."""
        with self._changed:
            return self._queue.sweep(now)

    def close(self) -> list[ImageJob]:
        """Finish the images that are being decoded; return the jobs that waited."""
        with self._changed:
            self._closed = True
            left = self._queue.clear()
            self._changed.notify_all()
        for worker in self._workers:
            if worker.is_alive():
                worker.join()
        return left

    def step(self) -> bool:
        """Decode the next job, waiting for one; return False when the pool is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if self._closed:
                return False
            job = self._queue.pop()
        self._decode(job)
        return True

    def _run(self) -> None:
        while self.step():
            pass
