"""Predicts when an image that arrives now would be answered."""

from collections.abc import Sequence
from typing import NamedTuple

from serving.engine.batcher import Batcher
from serving.engine.buckets import SHORT_DECODE_S, Buckets, fit
from serving.engine.decode import Decoding
from serving.engine.decode_latency import DecodeLatency, DecodeTime
from serving.engine.latency import BatchLatency, WaitCorrection
from serving.engine.queue import Ahead
from serving.engine.sources import DECODED, Size

NO_TIME = DecodeTime(0.0, 0.0, is_known=True)


class Estimate(NamedTuple):
    """How long an image waits until its batch runs, in seconds, and when it is answered."""

    wait_s: float
    finish: float


class Backlog(NamedTuple):
    """What is ahead of an image that is due at a certain time.

    Args:
        now: the present time on the engine's clock, in seconds, as all times here.
        ahead: the images that come first and are not slow to decode, or no longer.
        background: the slow ones that come first.
        threads: how many threads decode; 0 if devices decode their own batches.
        background_threads: how many decode slow images.
        free: when each device will be free, ascending.
        sizes: the batch sizes that run, ascending.
        latency: how long they take.
        correction: factor on the predicted wait.
    """

    now: float
    ahead: Ahead
    background: Ahead
    threads: int
    background_threads: int
    free: Sequence[float]
    sizes: Sequence[int]
    latency: BatchLatency
    correction: float

    @property
    def long_wait_s(self) -> float:
        """The shortest predicted wait that `WaitCorrection` can learn from, in seconds."""
        return 2 * self.latency.usual(self.sizes[-1])

    def estimate(self, images: int = 0, before_s: float = 0.0, decode_s: float = 0.0) -> Estimate:
        """Predict when one more image is answered.

        Args:
            images: images of the same request that come before it.
            before_s: time to decode those.
            decode_s: time to decode the image itself.
        """
        before, ahead_s = self.ahead.images + images, self.ahead.decode_s + before_s
        start, size, later = self._place(before)
        queue_s, bound_s = start - self.now, self.latency.bound(size)
        if self.threads:
            return self._decoded_apart(queue_s, ahead_s / self.threads + decode_s, bound_s)
        queue_s += ahead_s / len(self.free)
        # All images of its batch are decoded before it runs, also those that come after it.
        decode_s += later * (ahead_s / before if before else decode_s)
        finish = self.now + self.correction * queue_s + decode_s + bound_s
        return Estimate(queue_s + decode_s, finish)

    def estimate_slow(self, before_s: float = 0.0, decode_s: float = 0.0) -> Estimate:
        """Predict when an image that is slow to decode is answered.

        Args:
            before_s: time to decode the slow images of the same request that come before it.
            decode_s: time to decode the image itself.
        """
        start, size, _ = self._place(self.ahead.images)
        queue_s = start - self.now
        if not self.threads:
            queue_s += self.ahead.decode_s / len(self.free)
        decoded_s = (self.background.decode_s + before_s) / self.background_threads + decode_s
        return self._decoded_apart(queue_s, decoded_s, self.latency.bound(size))

    def _decoded_apart(self, queue_s: float, decoded_s: float, bound_s: float) -> Estimate:
        """Predict for an image that is decoded while those ahead of it run."""
        longest_s = max(self.correction * queue_s, decoded_s)
        return Estimate(max(queue_s, decoded_s), self.now + longest_s + bound_s)

    def _place(self, before: int) -> tuple[float, int, int]:
        """Return when the image's batch starts, its size, and how many images come after it in it.

        The images ahead are dealt to the devices in turn, and run in full batches, round by round.
        With two devices, free now and in 10 ms, batches of at most 4 that take 30 ms, and 13 images
        ahead: one round of 2 x 4 is over after 30 ms; 5 are left, so this one is the third of its
        device's batch (5 // 2 = 2 before it), which is padded to 4 and starts on the second device
        that becomes free (5 // 4 = 1): after 10 + 30 ms, with one image after it.
        """
        largest, devices = self.sizes[-1], len(self.free)
        rounds, position = divmod(before, devices * largest)
        in_batch = position // devices
        size = largest if rounds else fit(self.sizes, in_batch + 1)
        start = self.free[position // size] + rounds * self.latency.usual(largest)
        return start, size, size - 1 - in_batch


class Forecast:
    """Predicts when an image is answered from what is ahead of it, as Clockwork (OSDI 2020) does.

    Ahead are the jobs that are due earlier, decoded or not: they run in full batches, round by
    round on all devices, in the usual time each. Its own batch takes the time that nine of ten
    batches keep. Decoding is done by threads of its own, or by the devices before each batch, but
    that of slow images always in the background: it delays no other image.
    """

    def __init__(
        self,
        batcher: Batcher,
        buckets: Buckets,
        latency: BatchLatency,
        decode_latency: DecodeLatency,
        correction: WaitCorrection,
    ) -> None:
        self._batcher, self._buckets = batcher, buckets
        self._latency, self._decode_latency = latency, decode_latency
        self._correction = correction

    def backlog(self, now: float, due: float, decoding: Decoding) -> Backlog | None:
        """Return what is ahead of an image; None if too little is known to predict.

        Args:
            now: the present time, in seconds.
            due: when the image must be answered.
            decoding: where it would be decoded.
        """
        devices = self._batcher.serving
        if not devices or self._latency.is_stale(now):
            return None
        undecoded = decoding.quick.queue.ahead(due)
        waiting = self._batcher.queue.ahead(due)
        device_s = waiting.decode_s / waiting.images if waiting.images else 0.0
        return Backlog(
            now,
            Ahead(
                undecoded.images + waiting.images,
                undecoded.decode_s + waiting.decode_s,
                undecoded.guesses + waiting.guesses,
            ),
            decoding.slow.queue.ahead(due),
            decoding.quick.threads,
            decoding.slow.threads,
            sorted([max(device.free_at, now) for device in devices]),
            self._buckets.decodable(device_s),
            self._latency,
            self._correction.factor(),
        )

    def decode_time(self, now: float, size: Size) -> DecodeTime:
        """Return the predicted time to decode an image."""
        if size.kind == DECODED:
            return NO_TIME
        return self._decode_latency.estimate(size, now)

    def is_slow(self, time: DecodeTime) -> bool:
        """Whether an image with this time is decoded in the background."""
        # Nothing is slow below that limit, and for most images that is all there is to ask.
        if time.longest_s <= SHORT_DECODE_S:
            return False
        return time.longest_s > self._buckets.decode_limit_s()
