"""Threads that prepare batches as the device computes; results do not depend on their number."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from cli.cores import usable_cores

Indices = NDArray[np.intp]
T = TypeVar("T")
DEPTH = 4


class Prefetcher(Generic[T]):
    """Iterates over `items`, prepared ahead of time in a thread; errors arrive in order.

    `wait_s` is how long the consumer has waited for items, in seconds.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self.wait_s = 0.0
        self._items = items
        self._queue: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(DEPTH)
        self._stopped = threading.Event()

    def __iter__(self) -> Generator[T]:
        thread = threading.Thread(target=self._fill, name="prefetch", daemon=True)
        thread.start()
        try:
            while (entry := self._next()) is not None:
                if isinstance(entry, BaseException):
                    raise entry
                yield entry[0]
        finally:
            self._stopped.set()
            self._drain()
            thread.join()

    def _next(self) -> tuple[T] | BaseException | None:
        start = time.monotonic()
        entry = self._queue.get()
        self.wait_s += time.monotonic() - start
        return entry

    def _drain(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()

    def _fill(self) -> None:
        try:
            for item in self._items:
                self._queue.put((item,))
                if self._stopped.is_set():
                    return
            self._queue.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer
            self._queue.put(error)


class Workers:
    """Threads that decode and augment images: `count`, or one per core of this process."""

    def __init__(self, count: int | None) -> None:
        self._count = count or usable_cores().usable
        self._pool = ThreadPoolExecutor(self._count, "images")

    def map(self, function: Callable[[int], T], indices: Indices) -> list[T]:
        """Return what the function makes of each index, in order; raise what it raises."""

        def run(part: Indices) -> list[T]:
            return [function(int(index)) for index in part]

        return list(chain.from_iterable(self._pool.map(run, np.array_split(indices, self._count))))
