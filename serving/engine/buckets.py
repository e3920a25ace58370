"""Batch sizes: which were warmed up, which are worth running, and which fits the next batch."""

import bisect
from collections.abc import Mapping, Sequence

from serving.engine.latency import BatchLatency

# What a batch costs on a busy machine besides its run, in seconds: thread switches, cold caches. On
# two cores with 32 requests in flight, what batches of 4 and of 8 took beyond their images' share.
HAND_OVER_S = 0.0015
# A bucket with this share of the best images per second counts as equally fast: the warm-up is off
# by a few percent, and a larger batch makes images wait, so it must gain more than that.
AS_FAST = 0.96
# A larger one than the fastest that gives less than this share of its images per second has lost:
# measured more often, it would not become the fastest.
HAS_LOST = 0.9
# Decoding that takes this long in all makes no image slow and no batch smaller, in seconds: callers
# with short deadlines bear it, and a photo of several megapixels needs no more.
SHORT_DECODE_S = 0.05


def fit(buckets: Sequence[int], images: int) -> int:
    """Return the smallest of the ascending `buckets` that holds `images`."""
    return buckets[bisect.bisect_left(buckets, images)]


def contenders(times: Mapping[int, float]) -> Sequence[int]:
    """Return the sizes up to the fastest per image, and those above that may yet beat it.

    Args:
        times: what a batch of each ascending size takes, in seconds; 0 where that is not known.
    """
    if not all(times.values()):
        return [*times]
    rates = {size: _images_per_s(size, seconds) for size, seconds in times.items()}
    fastest = max(rates, key=lambda size: rates[size])
    return [size for size in rates if size <= fastest or rates[size] > HAS_LOST * rates[fastest]]


class Buckets:
    """The warmed batch sizes, without those that were too large for the device's memory.

    Args:
        sizes: the warmed batch sizes, ascending.
        latency: how long they take.
        slo_s: time within which 99 of 100 images should be answered, in seconds; None for no limit.
            An image may have to wait for a whole batch before its own runs, so two must fit.
    """

    def __init__(
        self, sizes: Sequence[int], latency: BatchLatency, slo_s: float | None = None
    ) -> None:
        self.usable = tuple(sizes)
        self._latency, self._slo_s = latency, slo_s
        # What `efficient` was computed from, and its result. One attribute: several threads ask.
        self._cached: tuple[tuple[tuple[int, ...], int], Sequence[int]] | None = None

    def efficient(self) -> Sequence[int]:
        """Return the sizes up to the smallest that is about as fast as the fastest, per image.

        A larger batch would only make its images wait; on a CPU it also outgrows the caches.
        """
        known, cached = (self.usable, self._latency.seeds), self._cached
        if cached is None or cached[0] != known:
            cached = self._cached = known, self._up_to_fastest()
        return cached[1]

    def contenders(self) -> Sequence[int]:
        """Return the sizes that another measurement may find efficient."""
        return contenders({size: self._latency.at_warm_up(size) for size in self.usable})

    def within_slo(self, decode_s: float = 0.0) -> Sequence[int]:
        """Return the efficient sizes that also keep the SLO; if none does, the smallest size.

        `decode_s` is the time that the device needs to decode each image first.
        """
        sizes = self.efficient()
        if self._slo_s is None:
            return sizes
        keeping = [size for size in sizes if 2 * self._bound_s(size, decode_s) <= self._slo_s]
        return keeping or sizes[:1]

    def decodable(self, decode_s: float) -> Sequence[int]:
        """Return those sizes `within_slo` whose images a device may decode before it runs them."""
        sizes = self.within_slo(decode_s)
        if not decode_s:
            return sizes
        limit_s = self.decode_limit_s()
        return [size for size in sizes if size * decode_s <= limit_s] or sizes[:1]

    def choose(self, images: int, left_s: float, decode_s: float) -> int:
        """Return the size of the next batch.

        Args:
            images: how many wait for it; it need not be larger than the bucket that holds them.
            left_s: time until the first image is due; a batch that takes longer is too large.
            decode_s: time that the device needs to decode each image first.
        """
        sizes = self.within_slo(decode_s)
        wanted = fit(sizes, min(images, sizes[-1]))
        return max(
            (s for s in sizes if s <= wanted and self._bound_s(s, decode_s) <= left_s),
            default=sizes[0],
        )

    def decode_limit_s(self) -> float:
        """Return how long a device may decode before a batch, in seconds: about as long as it runs.

        An image that takes longer is slow: it is decoded in the background.
        """
        return max(self._latency.usual(self.efficient()[-1]), SHORT_DECODE_S)

    def retire(self, size: int) -> bool:
        """Never run this size or a larger one again, unless none would be left: return False."""
        left = self.usable[: bisect.bisect_left(self.usable, size)]
        if left:
            self.usable = left
        return bool(left)

    def _up_to_fastest(self) -> Sequence[int]:
        times = [self._latency.at_warm_up(size) for size in self.usable]
        if not all(times):  # not all are known yet
            return self.usable
        rates = [_images_per_s(size, s) for size, s in zip(self.usable, times, strict=True)]
        last = next(i for i, rate in enumerate(rates) if rate >= AS_FAST * max(rates))
        return self.usable[: last + 1]

    def _bound_s(self, size: int, decode_s: float) -> float:
        return self._latency.bound(size) + size * decode_s


def _images_per_s(size: int, seconds: float) -> float:
    """Return what batches of a size give, one after another, if one runs for so long."""
    return size / (HAND_OVER_S + seconds)
