"""Parts of `GpuLock` that tell when somebody is kept waiting."""

import threading
from collections.abc import Callable

from serving.backends.ort.gpu_lock import GpuLock


class Door:
    """In place of a lock's door; `waited` is set once somebody finds it closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.waited = threading.Event()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.waited.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Left(threading.Condition):
    """In place of a lock's condition; `waited` is set once a recording has to wait for others."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = threading.Event()

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait as a condition does."""
        if not predicate():
            self.waited.set()
        return super().wait_for(predicate, timeout)


class WatchedLock(GpuLock):
    """A lock whose parts tell that."""

    def __init__(self) -> None:
        super().__init__()
        self._door = self.door = Door()  # type: ignore[assignment]
        self._left = self.left = Left()
