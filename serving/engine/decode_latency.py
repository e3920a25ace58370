"""Predicts how long an image takes to decode, from the latest of its kind and size."""

import threading
from collections import deque
from typing import NamedTuple

from serving.engine.latency import FRESH_S
from serving.engine.sources import Size

# What decoding takes at first sight, in nanoseconds per pixel and per encoded byte: the least that
# was seen on one core of a server, so a 50-megapixel PNG of 6 KB counts as slow from the first on.
PRIORS = {
    "JPEG": (2.5, 8.0),
    "PNG": (4.0, 10.0),
    "WEBP": (8.0, 40.0),
    "BMP": (2.0, 0.0),
    "raw": (1.0, 0.0),
    "ready": (0.1, 0.0),
}
OTHER_PRIOR = (4.0, 10.0)
PRIOR_S = 1e-4  # and for any image
# Decodes of one kind and size that are remembered.
DECODES = 16
# With fewer of them, a prediction is a guess: the first ones may have loaded a library.
FEWEST_TO_KNOW = 3
# A decode counts as at most this many times the prior. What makes it longer is not the image: one
# that is too small to take long must not be thought slow because it was the first.
OUTLIER = 30.0


class DecodeTime(NamedTuple):
    """How long an image would take to decode.

    Attributes:
        usual_s: the median of such images, in seconds.
        longest_s: the most that one of the latest took of a core, in seconds.
        is_known: whether enough of such images were decoded lately; else it is a guess, because
            of which no image may be refused.
    """

    usual_s: float
    longest_s: float
    is_known: bool

    @property
    def known_s(self) -> float:
        """The usual time if it is known, else 0."""
        return self.usual_s if self.is_known else 0.0


class DecodeLatency:
    """Predicts the time to decode an image; any thread may call.

    It is a prior that knows the image's kind, pixels and bytes, times how much longer than that
    the last ones took. The last ones are those of the same kind whose pixels are between the same
    powers of two: what an image that is much smaller took says little of a large one.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, dict[int, _Alike]] = {}
        self._lock = threading.Lock()

    def observe(self, size: Size, seconds: float, worked_s: float, now: float) -> None:
        """Learn from an image that was decoded at `now`.

        Args:
            size: what it claimed to be.
            seconds: how long that took.
            worked_s: how much of a core it took: less, if the thread had to wait for one.
            now: the present time, in seconds.
        """
        prior = _prior_s(size)
        with self._lock:
            alike = self._alike(size)
            alike.take(min(seconds / prior, OUTLIER), now)
            alike.work(min(worked_s / prior, OUTLIER))

    def observe_failure(self, size: Size, worked_s: float) -> None:
        """Learn from an image that could not be decoded, if it took long to find out.

        Otherwise broken images could make slow ones of their size look quick.
        """
        ratio = min(worked_s / _prior_s(size), OUTLIER)
        with self._lock:
            alike = self._alike(size)
            if ratio > alike.longest:
                alike.work(ratio)

    def estimate(self, size: Size, now: float) -> DecodeTime:
        """Return the predicted times; what is known at `now` was learned in the last 10 s."""
        prior, alikes, octave = _prior_s(size), self._kinds.get(size.kind, {}), _octave(size)
        if alike := alikes.get(octave):
            is_known = now - alike.known_since <= FRESH_S
            return DecodeTime(prior * alike.usual, prior * alike.longest, is_known)
        # A copy: another thread may add to it.
        others = [other for other in tuple(alikes) if alikes[other].is_trusted]
        nearest = min(others, key=lambda other: abs(other - octave), default=None)
        guess_s = prior * (1.0 if nearest is None else alikes[nearest].usual)
        return DecodeTime(guess_s, guess_s, is_known=False)

    def _alike(self, size: Size) -> "_Alike":
        return self._kinds.setdefault(size.kind, {}).setdefault(_octave(size), _Alike())


class _Alike:
    """The last images of one kind and about one size, in multiples of the prior.

    Attributes:
        longest: the largest share of a core.
        known_since: when the earliest of the `FEWEST_TO_KNOW` last ones was decoded, in seconds.
    """

    def __init__(self) -> None:
        self._times: deque[tuple[float, float]] = deque(maxlen=DECODES)
        self._work: deque[float] = deque([1.0], maxlen=DECODES)
        self._usual: float | None = 1.0
        self.longest = 1.0
        self.known_since = -float("inf")

    @property
    def usual(self) -> float:
        """The median of the times; it is found when it is asked for, as decodes come in batches.

        If a decode ends meanwhile, it may be one decode old.
        """
        if self._usual is None:
            ratios = sorted([ratio for _, ratio in tuple(self._times)])
            self._usual = ratios[(len(ratios) - 1) // 2]
        return self._usual

    @property
    def is_trusted(self) -> bool:
        """Whether there were enough of them to tell something of other sizes."""
        return self.known_since > -float("inf")

    def take(self, ratio: float, now: float) -> None:
        """Learn how long an image took."""
        self._times.append((now, ratio))
        while now - self._times[0][0] > FRESH_S:
            self._times.popleft()
        self._usual = None
        if len(self._times) >= FEWEST_TO_KNOW:
            self.known_since = self._times[-FEWEST_TO_KNOW][0]

    def work(self, ratio: float) -> None:
        """Learn how much of a core an image took.

        These are not forgotten with time: an image that looks slow is still decoded, and shows it
        if it is not.
        """
        self._work.append(ratio)
        self.longest = max(self._work)


def longest_s(size: Size) -> float:
    """Return the most that is ever predicted for an image, in seconds."""
    return OUTLIER * _prior_s(size)


def _octave(size: Size) -> int:
    return size.pixels.bit_length()


def _prior_s(size: Size) -> float:
    per_pixel, per_byte = PRIORS.get(size.kind, OTHER_PRIOR)
    return PRIOR_S + 1e-9 * (per_pixel * size.pixels + per_byte * size.nbytes)
