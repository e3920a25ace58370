"""What `benchmarks.scaling` is made of: time that events drive, cores, threads, and a device."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable

Then = Callable[[], None]


class Clock:
    """Simulated time, in seconds: runs what is due, in its order.

    Attributes:
        now: the time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        # The number keeps the order of events of the same time: the same seed, the same run.
        self._due: list[tuple[float, int, Then]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, then: Then) -> None:
        """Have `then` called in so many seconds."""
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), then))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._due and self._due[0][0] <= until:
            self.now, _, then = heapq.heappop(self._due)
            then()
        self.now = until


class Queue:
    """Servers that take work in the order of asking; each keeps its piece until that is done.

    Args:
        spend: takes a piece of work, in seconds, and what to call when it is done.
        count: how many servers.

    Attributes:
        busy_s: time that they worked, together.
    """

    def __init__(self, spend: Callable[[float, Then], None], count: int) -> None:
        self.count, self.busy_s = count, 0.0
        self._spend, self._free = spend, count
        self._waiting: deque[tuple[float, Then]] = deque()

    def put(self, seconds: float, then: Then) -> None:
        """Work for so many seconds once a server is free; then call `then`."""
        if self._free:
            self._free -= 1
            self._begin(seconds, then)
        else:
            self._waiting.append((seconds, then))

    def _begin(self, seconds: float, then: Then) -> None:
        def end() -> None:
            self.busy_s += seconds
            if self._waiting:
                self._begin(*self._waiting.popleft())
            else:
                self._free += 1
            then()

        self._spend(seconds, end)


class Cores(Queue):
    """Cores that all processes share.

    Pieces of work here are shorter than the time slices of an operating system, so that one would
    rarely interrupt them either.
    """

    def __init__(self, clock: Clock, count: int) -> None:
        super().__init__(clock.after, count)


class Threads(Queue):
    """Threads of one process. Each needs a core to work; to wait for one is no work.

    One of them is a process's Python: whatever holds its lock is done one after another.
    """

    def __init__(self, cores: Cores, count: int = 1) -> None:
        super().__init__(cores.put, count)


class Device:
    """Runs what waits for it in batches, without a core; like the engine, it waits for no more.

    Args:
        clock: the time.
        most: images in a batch; one request is not split.
        batch_s: how long a batch of so many images takes.

    Attributes:
        busy_s: time that it ran; a smaller batch counts by its images as part of a full one, as in
            the same time there could have been more.
    """

    count = 1

    def __init__(self, clock: Clock, most: int, batch_s: Callable[[int], float]) -> None:
        self.busy_s = 0.0
        self._clock, self._most, self._batch_s = clock, most, batch_s
        self._waiting: deque[tuple[int, Then]] = deque()
        self._is_running = False

    def put(self, images: int, then: Then) -> None:
        """Run the images of a request; then call `then`."""
        self._waiting.append((images, then))
        if not self._is_running:
            self._begin()

    def _begin(self) -> None:
        batch = [self._waiting.popleft()]
        images = batch[0][0]
        while self._waiting and images + self._waiting[0][0] <= self._most:
            batch.append(self._waiting.popleft())
            images += batch[-1][0]
        seconds, self._is_running = self._batch_s(images), True

        def end() -> None:
            self.busy_s += self._batch_s(self._most) * images / self._most
            self._is_running = False
            if self._waiting:
                self._begin()
            for _, then in batch:
                then()

        self._clock.after(seconds, end)
