"""How long a batch, and how long decoding an image will take, learnt from those before."""

import math
import threading
from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]

WINDOW = 16
QUANTILE = 0.9
FRESH_S = 10.0
FORGET = 0.95


class BatchLatency:
    """Time of a batch per bucket, as Clockwork (OSDI 2020) predicts it: from the last ones.

    It is the bucket's time at warm-up, times how much slower than that the last batches were, of
    whatever bucket: what slows one bucket down slows all. Any thread may call.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._base: dict[int, float] = {}
        self._ratios: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._lock = threading.Lock()
        self._usual = self._slow = 1.0

    def seed(self, bucket: int, seconds: float) -> None:
        """Set a bucket's time at warm-up; the fastest of several instances."""
        with self._lock:
            self._base[bucket] = min(seconds, self._base.get(bucket, seconds))
        self.observe(bucket, self._base[bucket])

    def observe(self, bucket: int, seconds: float) -> None:
        """Learn from a batch that ran."""
        now = self._clock()
        with self._lock:
            base = self._base.setdefault(bucket, seconds)
            self._ratios.append((now, seconds / base if base else 1.0))
            while now - self._ratios[0][0] > FRESH_S:
                self._ratios.popleft()
            ratios = sorted(ratio for _, ratio in self._ratios)
            self._usual = ratios[(len(ratios) - 1) // 2]
            self._slow = ratios[math.ceil(QUANTILE * len(ratios)) - 1]

    def usual(self, bucket: int) -> float:
        """Return the median of a bucket's time, in seconds; 0 where nothing is known of it."""
        return self._base.get(bucket, 0.0) * self._usual

    def bound(self, bucket: int) -> float:
        """Return the time that nine of ten batches keep, in seconds."""
        return self._base.get(bucket, 0.0) * self._slow

    def is_stale(self, now: float) -> bool:
        """Whether nothing ran for so long that what is known refuses nobody any more.

        Else a device that was slow once would refuse all and never be found fast again.
        """
        return not self._ratios or now - self._ratios[-1][0] > FRESH_S


class DecodeLatency:
    """Time to decode an image: per kind a line over its pixels, by least squares that forget.

    Its owner locks.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float, float, float, float]] = {}

    def observe(self, kind: str, pixels: int, seconds: float) -> None:
        """Learn from an image that was decoded."""
        x, y = pixels / 1e6, seconds
        old = self._sums.get(kind, (0.0,) * 5)
        new = (1.0, x, y, x * x, x * y)
        n, sx, sy, sxx, sxy = (FORGET * a + b for a, b in zip(old, new, strict=True))
        self._sums[kind] = n, sx, sy, sxx, sxy

    def estimate(self, kind: str, pixels: int) -> float:
        """Return the time in seconds; 0 for a kind that was not seen yet."""
        if kind not in self._sums:
            return 0.0
        n, sx, sy, sxx, sxy = self._sums[kind]
        x, mean_x, mean_y = pixels / 1e6, sx / n, sy / n
        variance = sxx / n - mean_x * mean_x
        if variance > 1e-3 * mean_x * mean_x:
            slope = max((sxy / n - mean_x * mean_y) / variance, 0.0)
        else:  # all had one size: through the origin
            slope = mean_y / mean_x if mean_x else 0.0
        return max(mean_y + slope * (x - mean_x), 0.0)
