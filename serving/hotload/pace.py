"""When the process of a load runs: while no image is in flight, and else for a small share."""

import mmap
import os
import struct
import threading
import time
from collections.abc import Callable

from serving.child import Child

# How often to look whether images are in flight, in seconds. An image that comes shares the machine
# with the load for so long at most.
LOOK_S = 0.001
# The share of the time that the load gets if images are always in flight, and how much of it, in
# seconds, comes due before it is given. While models are idle for that share, there is no need.
SHARE, BURST_S = 0.1, 0.1
SECONDS = struct.Struct("d")


class Pauses:
    """How long a process was paused in all, in memory that it shares with the one that pauses it.

    Nothing is written but while it has stopped, so what it reads is whole, and up to date.

    Args:
        descriptor: of that memory; None: makes it.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("pauses")
            os.ftruncate(descriptor, SECONDS.size)
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, SECONDS.size)

    def add(self, seconds: float) -> None:
        """Count a pause, before its end."""
        self._memory[:] = SECONDS.pack(self._seconds + seconds)

    def clock(self) -> float:
        """Return monotonic time that stands still while the process is stopped, in seconds."""
        while True:
            before, now = self._seconds, time.monotonic()
            if before == self._seconds:  # else it was stopped in between
                return now - before

    def close(self) -> None:
        """Release the memory."""
        self._memory.close()
        os.close(self.descriptor)

    @property
    def _seconds(self) -> float:
        [seconds] = SECONDS.unpack(self._memory)
        return float(seconds)


class Pace:
    """Pauses a process while images are in flight.

    The lowest priority is not enough: cores share caches, memory and often their arithmetic, so
    that a batch takes longer beside whatever runs on another core.

    Args:
        child: the process.
        pauses: tells it how long they were.
        is_idle: whether no image is in flight; another thread calls it.
    """

    def __init__(self, child: Child, pauses: Pauses, is_idle: Callable[[], bool]) -> None:
        self._child, self._pauses, self._is_idle = child, pauses, is_idle
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pace", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Have the process go on, unpaced."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        runs, is_burst, due_s = True, False, 0.0
        stopped_at: float | None = None
        looked = time.monotonic()
        while not self._ended.wait(LOOK_S):
            now = time.monotonic()
            due_s, looked = max(0.0, due_s + (SHARE - runs) * (now - looked)), now
            is_burst = due_s > (0.0 if is_burst else BURST_S)
            may_run = is_burst or self._is_idle()
            if runs and not may_run:
                self._child.pause()
            elif may_run and not runs:
                self._resume(stopped_at)
                stopped_at = None
            elif not runs and stopped_at is None and self._child.has_stopped():
                stopped_at = time.monotonic()
            runs = may_run
        self._resume(stopped_at)

    def _resume(self, stopped_at: float | None) -> None:
        # Of a pause only what came after the stop: until then its threads may have waited for a
        # core, and the kernel counts that too (`serving.engine.warm_up.waited_s`).
        if stopped_at is not None:
            self._pauses.add(time.monotonic() - stopped_at)
        self._child.resume()
