"""Predicts how long a batch and a wait will take, from the latest ones."""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable

Clock = Callable[[], float]

# Batches and waits that are remembered, and for how long, in seconds.
BATCHES, WAITS = 16, 64
FRESH_S = 10.0
QUANTILE = 0.9
# With fewer batches than this, a single slow one would be the quantile.
FEWEST_FOR_QUANTILE = 10


class BatchLatency:
    """Predicts the time of a batch per bucket from the last ones, as Clockwork (OSDI 2020) does.

    It is the bucket's time at warm-up, times how much slower than that the last batches of any
    bucket were: what slows one bucket down slows them all. Wide batches have times of their own.
    Any thread may call.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._base: dict[tuple[int, bool], float] = {}  # by bucket and whether it is wide
        self._ratios: deque[tuple[float, float]] = deque(maxlen=BATCHES)
        self._lock = threading.Lock()
        self._usual = self._slow = 1.0
        self.seeds = 0  # how often a time at warm-up became known

    def seed(
        self, bucket: int, least_s: float, usual_s: float | None = None, *, wide: bool = False
    ) -> None:
        """Set a bucket's time at warm-up: the least of several instances, and learn the usual."""
        with self._lock:
            self._base[bucket, wide] = min(least_s, self._base.get((bucket, wide), least_s))
            self.seeds += 1
        self.observe(bucket, self._base[bucket, wide] if usual_s is None else usual_s, wide=wide)

    def observe(self, bucket: int, seconds: float, *, wide: bool = False) -> None:
        """Learn from a batch that ran."""
        now = self._clock()
        with self._lock:
            base = self._base.setdefault((bucket, wide), seconds)
            self._ratios.append((now, seconds / base if base else 1.0))
            while now - self._ratios[0][0] > FRESH_S:
                self._ratios.popleft()
            ratios = sorted(ratio for _, ratio in self._ratios)
            if len(ratios) < FEWEST_FOR_QUANTILE:  # the warm-up counts as one of them
                ratios = sorted([1.0, *ratios])
            self._usual = ratios[(len(ratios) - 1) // 2]
            enough = len(ratios) >= FEWEST_FOR_QUANTILE
            self._slow = ratios[math.ceil(QUANTILE * len(ratios)) - 1] if enough else self._usual

    def at_warm_up(self, bucket: int) -> float:
        """Return a bucket's time at warm-up, in seconds; 0 if nothing is known of it."""
        return self._base.get((bucket, False), 0.0)

    def usual(self, bucket: int, *, wide: bool = False) -> float:
        """Return the median of a bucket's time, in seconds; 0 if nothing is known of it."""
        return self._base.get((bucket, wide), 0.0) * self._usual

    def bound(self, bucket: int, *, wide: bool = False) -> float:
        """Return the time that nine of ten batches keep, in seconds; 0 if nothing is known."""
        return self._base.get((bucket, wide), 0.0) * self._slow

    def is_stale(self, now: float) -> bool:
        """Whether the last batch is too old to refuse a request because of it.

        Otherwise a device that was slow once would refuse everything and never be found fast again.
        """
        return not self._ratios or now - self._ratios[-1][0] > FRESH_S


class WaitCorrection:
    """How much longer images wait for their batch than was predicted: a quantile of the last ones.

    A forecast knows batches and decoding, but not how they slow each other down on shared cores,
    nor which requests with earlier deadlines will still arrive. Any thread may call.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ratios: deque[float] = deque(maxlen=WAITS)
        self._latest, self._factor = -math.inf, 1.0
        self._lock = threading.Lock()

    def observe(self, waits: Iterable[tuple[float, float]]) -> None:
        """Learn from the predicted and the actual waits of images, in seconds."""
        ratios = [actual / predicted for predicted, actual in waits if predicted]
        if not ratios:
            return
        with self._lock:
            self._ratios.extend(ratios)
            ordered = sorted(self._ratios)
            self._factor = ordered[math.ceil(QUANTILE * len(ordered)) - 1]
            self._latest = self._clock()

    def factor(self) -> float:
        """Return the factor on a predicted wait; 1 if there was none to learn from lately."""
        return self._factor if self._clock() - self._latest <= FRESH_S else 1.0
