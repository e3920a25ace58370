"""Which batch sizes may run now."""

import bisect
from collections.abc import Sequence

from serving.engine.latency import BatchLatency


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

    @property
    def smallest(self) -> int:
        """The smallest size; it may always run."""
        return self.usable[0]

    def fast(self) -> Sequence[int]:
        """Return the sizes that keep the objective, the smallest one in any case."""
        if self._slo_s is None:
            return self.usable
        keeping = [size for size in self.usable if 2 * self._latency.bound(size) <= self._slo_s]
        return keeping or self.usable[:1]

    def in_time(self, sizes: Sequence[int], seconds: float) -> int:
        """Return the largest of `sizes` that takes at most so long, else the smallest of all."""
        return next((s for s in reversed(sizes) if self._latency.bound(s) <= seconds), sizes[0])

    def retire(self, size: int) -> bool:
        """Run this size and larger ones never again; return False where none would be left."""
        left = self.usable[: bisect.bisect_left(self.usable, size)]
        if left:
            self.usable = left
        return bool(left)
