"""When an image that came now would be answered."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from serving.backends import fit
from serving.engine.batcher import Batcher
from serving.engine.buckets import Buckets
from serving.engine.decode_pool import DecodePool
from serving.engine.latency import BatchLatency, Clock, Slip
from serving.engine.sources import Size


class Server(Protocol):
    """What runs batches: a device, or the simulation of one."""

    @property
    def free_at(self) -> float:
        """When it is expected to end its batch."""


class Outlook(NamedTuple):
    """What is ahead of an image with a certain deadline at this moment.

    Args:
        now: this moment on the clock, in seconds; all other times are on it or spans of it.
        ahead: number of images that come before.
        decoded: when the last of them will be decoded.
        threads: how many decode.
        free: when each device will be free, rising.
        sizes: the batch sizes that run, rising.
        latency: how long they take.
        slip: how much longer images wait than is foreseen.
    """

    now: float
    ahead: int
    decoded: float
    threads: int
    free: Sequence[float]
    sizes: Sequence[int]
    latency: BatchLatency
    slip: float

    def wait_s(self, images: int = 0) -> float:
        """Return how long an image with so many of its request before it waits for a device."""
        return self._place(images)[0] - self.now

    def finish(self, images: int = 0, before_s: float = 0.0, decode_s: float = 0.0) -> float:
        """Return when the image would be answered, on the clock.

        Args:
            images: images of the same request before it.
            before_s: what they take to decode.
            decode_s: what it takes to decode itself.
        """
        start, size = self._place(images)
        start = self.now + self.slip * (start - self.now)
        decoded = self.decoded + before_s / self.threads + decode_s
        return max(start, decoded) + self.latency.bound(size)

    def _place(self, images: int) -> tuple[float, int]:
        """Return when an image's batch starts, and its size."""
        largest, devices = self.sizes[-1], len(self.free)
        rounds, position = divmod(self.ahead + images, devices * largest)
        size = largest if rounds else fit(self.sizes, position // devices + 1)
        return self.free[position // size] + rounds * self.latency.usual(largest), size


class Forecast:
    """Predicts the end of an image from what is ahead of it, as Clockwork (OSDI 2020) does.

    Ahead are jobs with earlier deadlines, decoded or not: they run in full batches, round by round
    on all devices, in the usual time each. Its own batch takes the time that nine of ten keep.
    """

    def __init__(
        self,
        decoders: DecodePool,
        batcher: Batcher,
        buckets: Buckets,
        latency: BatchLatency,
        slip: Slip,
        clock: Clock,
    ) -> None:
        self._slip = slip
        self._decoders, self._batcher, self._buckets = decoders, batcher, buckets
        self._latency, self._clock = latency, clock

    def outlook(self, deadline: float, devices: Sequence[Server]) -> Outlook:
        """Return what is ahead of a deadline on the devices that run now, at least one."""
        now, threads = self._clock(), self._decoders.threads
        undecoded, undecoded_s = self._decoders.ahead(deadline)
        return Outlook(
            now,
            undecoded + self._batcher.ahead(deadline),
            now + undecoded_s / threads,
            threads,
            sorted(max(device.free_at, now) for device in devices),
            self._buckets.fast(),
            self._latency,
            self._slip.factor(),
        )

    def long_wait_s(self) -> float:
        """Return from when on a wait teaches how waits compare with what was foreseen."""
        return 2 * self._latency.usual(self._buckets.fast()[-1])

    def decode_s(self, size: Size) -> float:
        """Return how long an image will take to decode, in seconds."""
        return self._decoders.estimate(size, self._clock())

    def refuses(self, deadline: float, finish: float) -> bool:
        """Whether an image that would end at `finish` is too late."""
        return finish > deadline and not self._latency.is_stale(self._clock())
