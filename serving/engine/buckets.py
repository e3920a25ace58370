"""Which batch sizes may run now."""

import bisect
from collections.abc import Sequence

from serving.engine.latency import BatchLatency

# What a batch costs besides its run on a busy machine, in seconds: threads and caches change hands.
# Turns of batches of 4 and 8 on two cores gave 1.5 ms; twice that lets a noisy warm-up err towards
# fewer hand-overs, which cost most under overload.
HAND_OVER_S = 0.003
# Sizes that run about as many images per second as the best are as good: a busy machine's warm-up
# is off by some percent.
AS_GOOD = 0.98


class Buckets:
    """The warmed batch sizes, less those that did not fit into memory or that are too slow.

    Args:
        sizes: the warmed batch sizes, rising.
        latency: how long they take.
        slo_s: time within which 99 of 100 images are to be answered, in seconds; None for any. An
            image may wait for a whole batch before its own: twice a batch must stay within it.
    """

    def __init__(
        self, sizes: Sequence[int], latency: BatchLatency, slo_s: float | None = None
    ) -> None:
        self.usable = tuple(sizes)
        self._latency, self._slo_s = latency, slo_s
        # What it was computed from, and the result: one attribute, for several threads ask.
        self._cached: tuple[tuple[tuple[int, ...], int], Sequence[int]] | None = None

    @property
    def smallest(self) -> int:
        """The smallest size; it may always run."""
        return self.usable[0]

    def efficient(self) -> Sequence[int]:
        """Return the sizes up to the smallest that is about as fast as any, in images per second.

        A larger batch would only make its images wait: on a CPU it outgrows the caches.
        """
        known, cached = (self.usable, self._latency.seeds), self._cached
        if cached is None or cached[0] != known:
            cached = self._cached = known, self._up_to_fast()
        return cached[1]

    def fast(self, decode_s: float = 0.0) -> Sequence[int]:
        """Return those that keep the objective as well, the smallest one in any case.

        `decode_s` is what the device needs beforehand to decode each image.
        """
        sizes = self.efficient()
        if self._slo_s is None:
            return sizes
        keeping = [size for size in sizes if 2 * self._bound(size, decode_s) <= self._slo_s]
        return keeping or sizes[:1]

    def in_time(self, sizes: Sequence[int], seconds: float, decode_s: float = 0.0) -> int:
        """Return the largest of `sizes` that takes at most so long, else the smallest of all."""
        fitting = (size for size in reversed(sizes) if self._bound(size, decode_s) <= seconds)
        return next(fitting, sizes[0])

    def retire(self, size: int) -> bool:
        """Run this size and larger ones never again; return False where none would be left."""
        left = self.usable[: bisect.bisect_left(self.usable, size)]
        if left:
            self.usable = left
        return bool(left)

    def _up_to_fast(self) -> Sequence[int]:
        times = [self._latency.at_warm_up(size) for size in self.usable]
        if not all(times):  # not all are known yet
            return self.usable
        rates = [size / (HAND_OVER_S + s) for size, s in zip(self.usable, times, strict=True)]
        last = next(i for i, rate in enumerate(rates) if rate >= AS_GOOD * max(rates))
        return self.usable[: last + 1]

    def _bound(self, size: int, decode_s: float) -> float:
        return self._latency.bound(size) + size * decode_s
