"""How long a batch, and how long decoding an image will take, learnt from those before."""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable

from serving.engine.sources import Size

Clock = Callable[[], float]

WINDOW = 16
QUANTILE = 0.9
FRESH_S = 10.0
WAITS = 64
# Fewer batches than these are no base for a quantile: one that was slow would be the ninth in ten.
FEW = 10
SMALL_MEGAPIXELS = 0.1
OUTLIER = 10.0
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
        self.seeds = 0  # how often a time at warm-up became known

    def seed(self, bucket: int, seconds: float) -> None:
        """Set a bucket's time at warm-up; the fastest of several instances."""
        with self._lock:
            self._base[bucket] = min(seconds, self._base.get(bucket, seconds))
            self.seeds += 1
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
            if len(ratios) < FEW:  # the warm-up counts as one of them
                ratios = sorted([1.0, *ratios])
            self._usual = ratios[(len(ratios) - 1) // 2]
            few = len(ratios) < FEW
            self._slow = self._usual if few else ratios[math.ceil(QUANTILE * len(ratios)) - 1]

    def at_warm_up(self, bucket: int) -> float:
        """Return a bucket's time at warm-up, in seconds; 0 where nothing is known of it."""
        return self._base.get(bucket, 0.0)

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


class Slip:
    """How much longer images wait for their batch than was foreseen: of the last ones a quantile.

    A forecast knows batches and decoding, not what they cost each other on shared cores, nor who
    will come with an earlier deadline. Any thread may call.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ratios: deque[float] = deque(maxlen=WAITS)
        self._latest, self._factor = -math.inf, 1.0
        self._lock = threading.Lock()

    def observe(self, waits: Iterable[tuple[float, float]]) -> None:
        """Learn from the foreseen and the actual waits of images, in seconds."""
        ratios = [actual / foreseen for foreseen, actual in waits if foreseen]
        if not ratios:
            return
        with self._lock:
            self._ratios.extend(ratios)
            ordered = sorted(self._ratios)
            self._factor = ordered[math.ceil(QUANTILE * len(ordered)) - 1]
            self._latest = self._clock()

    def factor(self) -> float:
        """Return by how much to multiply a wait that is foreseen; 1 where none was seen lately."""
        return self._factor if self._clock() - self._latest <= FRESH_S else 1.0


class DecodeLatency:
    """Time to decode an image: per kind a line over its pixels, by least squares that forget.

    What was not decoded for long is expected to take no time: an estimate that refused all images
    of a kind would never be mended. Any thread may call.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float, float, float, float]] = {}
        self._latest: dict[str, float] = {}
        self._lock = threading.Lock()

    def observe(self, size: Size, seconds: float, now: float) -> None:
        """Learn from an image that was decoded; one that took absurdly long counts as long."""
        with self._lock:
            expected = self.estimate(size, now)
            x, y = size.pixels / 1e6, min(seconds, OUTLIER * expected) if expected else seconds
            old = self._sums.get(size.kind, (0.0,) * 5)
            new = (1.0, x, y, x * x, x * y)
            n, sx, sy, sxx, sxy = (FORGET * a + b for a, b in zip(old, new, strict=True))
            self._latest[size.kind] = now
            self._sums[size.kind] = n, sx, sy, sxx, sxy

    def estimate(self, size: Size, now: float) -> float:
        """Return the time in seconds; 0 for a kind that was not seen lately."""
        if size.kind not in self._sums or now - self._latest[size.kind] > FRESH_S:
            return 0.0
        n, sx, sy, sxx, sxy = self._sums[size.kind]
        x, mean_x, mean_y = size.pixels / 1e6, sx / n, sy / n
        variance = sxx / n - mean_x * mean_x
        if variance > 1e-3 * mean_x * mean_x:
            slope = max((sxy / n - mean_x * mean_y) / variance, 0.0)
        else:  # all had one size: through the origin, unless they are too small to tell
            slope = mean_y / max(mean_x, SMALL_MEGAPIXELS)
        return max(mean_y + slope * (x - mean_x), 0.0)
