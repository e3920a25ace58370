"""Which batch sizes may run, and which one a batch gets."""

import bisect
from collections.abc import Sequence

from serving.backends.backend import fit
from serving.engine.latency import BatchLatency

# What a batch costs on a busy machine besides its run, in seconds: switching threads, cold caches.
# Batches of 4 and 8 on two cores took 1.5 ms more than they ran; twice that makes a noisy warm-up
# err towards larger batches, since under overload switching costs most.
HAND_OVER_S = 0.003
# A bucket at least this fast, relative to the fastest in images per second, is as good: the warm-up
# on a busy machine is off by a few percent.
AS_FAST = 0.98


class Buckets:
    """The warmed batch sizes, without those that were too large for the device's memory.

    Args:
        sizes: the warmed batch sizes, rising.
        latency: how long they take.
        slo_s: time within which 99 of 100 images should be answered, in seconds; None for any. An
            image may have to wait for a whole batch before its own runs, so two batches must fit.
    """

    def __init__(
        self, sizes: Sequence[int], latency: BatchLatency, slo_s: float | None = None
    ) -> None:
        self.usable = tuple(sizes)
        self._latency, self._slo_s = latency, slo_s
        # What `efficient` was computed from, and its result. One attribute: several threads ask.
        self._cached: tuple[tuple[tuple[int, ...], int], Sequence[int]] | None = None

    @property
    def smallest(self) -> int:
        """The smallest size; it may always run."""
        return self.usable[0]

    def efficient(self) -> Sequence[int]:
        """Return the sizes up to the smallest that is about as fast as any, in images per second.

        A larger batch would only make its images wait; on a CPU it also outgrows the caches.
        """
        known, cached = (self.usable, self._latency.seeds), self._cached
        if cached is None or cached[0] != known:
            cached = self._cached = known, self._up_to_fastest()
        return cached[1]

    def within_slo(self, decode_s: float = 0.0) -> Sequence[int]:
        """Return the efficient sizes that also keep the SLO, in any case the smallest one.

        `decode_s` is what the device needs to decode each image first.
        """
        sizes = self.efficient()
        if self._slo_s is None:
            return sizes
        keeping = [size for size in sizes if 2 * self._bound_s(size, decode_s) <= self._slo_s]
        return keeping or sizes[:1]

    def choose(self, images: int, left_s: float, decode_s: float) -> int:
        """Return the size of the next batch.

        Args:
            images: how many wait for it; it need not be larger than the bucket that holds them.
            left_s: time until the first image's deadline; a batch that takes longer is too large.
            decode_s: what the device needs to decode each image first.
        """
        sizes = self.within_slo(decode_s)
        wanted = fit(sizes, min(images, sizes[-1]))
        in_time = (
            size
            for size in reversed(sizes)
            if size <= wanted and self._bound_s(size, decode_s) <= left_s
        )
        return next(in_time, sizes[0])

    def retire(self, size: int) -> bool:
        """Never run this size or a larger one again; return False if none would be left."""
        left = self.usable[: bisect.bisect_left(self.usable, size)]
        if left:
            self.usable = left
        return bool(left)

    def _up_to_fastest(self) -> Sequence[int]:
        times = [self._latency.at_warm_up(size) for size in self.usable]
        if not all(times):  # not all are known yet
            return self.usable
        rates = [size / (HAND_OVER_S + s) for size, s in zip(self.usable, times, strict=True)]
        last = next(i for i, rate in enumerate(rates) if rate >= AS_FAST * max(rates))
        return self.usable[: last + 1]

    def _bound_s(self, size: int, decode_s: float) -> float:
        return self._latency.bound(size) + size * decode_s
