"""A thread that prepares batches as the device computes."""

import queue
import threading
import time
from collections.abc import Generator, Iterable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

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
            if isinstance(self._items, Generator):
                self._items.close()

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
