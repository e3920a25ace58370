"""When an image that came now would be answered."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from serving.backends.backend import fit
from serving.engine.batcher import Batcher
from serving.engine.buckets import Buckets
from serving.engine.deadline_queue import Ahead
from serving.engine.decode_pool import DecodePool
from serving.engine.latency import BatchLatency, DecodeLatency, Slip
from serving.engine.sources import Size


class Server(Protocol):
    """What runs batches: a device, or the simulation of one."""

    @property
    def free_at(self) -> float:
        """When it is expected to end its batch."""


class Foreseen(NamedTuple):
    """How long an image waits until its batch runs, in seconds, and when it is answered."""

    wait_s: float
    finish: float


class Outlook(NamedTuple):
    """What is ahead of an image with a certain deadline at this moment.

    Args:
        now: this moment on the clock, in seconds; all other times are on it or spans of it.
        ahead: what comes before.
        threads: how many threads decode; 0 where devices decode their batches.
        free: when each device will be free, rising.
        sizes: the batch sizes that run, rising.
        latency: how long they take.
        slip: how much longer images wait than is foreseen.
    """

    now: float
    ahead: Ahead
    threads: int
    free: Sequence[float]
    sizes: Sequence[int]
    latency: BatchLatency
    slip: float

    def foresee(self, images: int = 0, before_s: float = 0.0, decode_s: float = 0.0) -> Foreseen:
        """Foresee the way of an image.

        Args:
            images: images of the same request before it.
            before_s: what they take to decode.
            decode_s: what it takes to decode itself.
        """
        before, ahead_s = self.ahead.images + images, self.ahead.decode_s + before_s
        start, size, later = self._place(before)
        queue_s, bound_s = start - self.now, self.latency.bound(size)
        if self.threads:
            decoded_s = ahead_s / self.threads + decode_s
            longest_s = max(self.slip * queue_s, decoded_s)
            return Foreseen(max(queue_s, decoded_s), self.now + longest_s + bound_s)
        queue_s += ahead_s / len(self.free)
        # Its batch mates are decoded before it runs, later ones too.
        decode_s += later * (ahead_s / before if before else decode_s)
        return Foreseen(queue_s + decode_s, self.now + self.slip * queue_s + decode_s + bound_s)

    def _place(self, before: int) -> tuple[float, int, int]:
        """Return when a device takes an image, the size of its batch, how many come after it."""
        largest, devices = self.sizes[-1], len(self.free)
        rounds, position = divmod(before, devices * largest)
        in_batch = position // devices
        size = largest if rounds else fit(self.sizes, in_batch + 1)
        start = self.free[position // size] + rounds * self.latency.usual(largest)
        return start, size, size - 1 - in_batch


class Forecast:
    """Predicts the end of an image from what is ahead of it, as Clockwork (OSDI 2020) does.

    Ahead are jobs with earlier deadlines, decoded or not: they run in full batches, round by round
    on all devices, in the usual time each. Its own batch takes the time that nine of ten keep.
    Decoding is the work of threads of its own, or of the devices, before each batch.
    """

    def __init__(
        self,
        decoders: DecodePool,
        batcher: Batcher,
        buckets: Buckets,
        latency: BatchLatency,
        decode_latency: DecodeLatency,
        slip: Slip,
    ) -> None:
        self._decode_latency, self._slip = decode_latency, slip
        self._decoders, self._batcher, self._buckets = decoders, batcher, buckets
        self._latency = latency

    def outlook(self, now: float, deadline: float, devices: Sequence[Server]) -> Outlook | None:
        """Return what is ahead of a deadline on these devices; None where too little is known."""
        if not devices or self._latency.is_stale(now):
            return None
        threads = self._decoders.threads
        undecoded, waiting = self._decoders.ahead(deadline), self._batcher.ahead(deadline)
        device_s = waiting.decode_s / waiting.images if waiting.images else 0.0
        return Outlook(
            now,
            Ahead(undecoded.images + waiting.images, undecoded.decode_s + waiting.decode_s),
            threads,
            sorted([max(device.free_at, now) for device in devices]),
            self._buckets.fast(device_s),
            self._latency,
            self._slip.factor(),
        )

    def long_wait_s(self) -> float:
        """Return from when on a wait teaches how waits compare with what was foreseen."""
        return 2 * self._latency.usual(self._buckets.fast()[-1])

    def decode_s(self, now: float, size: Size) -> float:
        """Return how long an image will take to decode, in seconds."""
        return self._decode_latency.estimate(size, now)
