"""When an image that came now would be answered."""

from collections.abc import Sequence
from typing import Protocol

from serving.backends import fit
from serving.engine.batcher import Batcher
from serving.engine.buckets import Buckets
from serving.engine.decode_pool import DecodePool
from serving.engine.latency import BatchLatency, Clock
from serving.engine.sources import Size


class Server(Protocol):
    """What runs batches: a device, or the simulation of one."""

    @property
    def free_at(self) -> float:
        """When it is expected to end its batch."""


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
        clock: Clock,
    ) -> None:
        self._decoders, self._batcher, self._buckets = decoders, batcher, buckets
        self._latency, self._clock = latency, clock

    def finish(
        self,
        deadline: float,
        devices: Sequence[Server],
        *,
        images: int = 0,
        before_s: float = 0.0,
        decode_s: float = 0.0,
    ) -> float:
        """Return when the image would be answered, on the clock.

        Args:
            deadline: the image's.
            devices: those that run now, at least one.
            images: images of the same request before it.
            before_s: what they take to decode.
            decode_s: what it takes to decode itself.
        """
        now = self._clock()
        undecoded, undecoded_s = self._decoders.ahead(deadline)
        decoded = now + (undecoded_s + before_s) / self._decoders.threads + decode_s
        ahead = undecoded + self._batcher.ahead(deadline) + images
        fast = self._buckets.fast()
        rounds, position = divmod(ahead, len(devices) * fast[-1])
        size = fast[-1] if rounds else fit(fast, position // len(devices) + 1)
        free = sorted(max(device.free_at, now) for device in devices)[position // size]
        start = free + rounds * self._latency.usual(fast[-1])
        return max(start, decoded) + self._latency.bound(size)

    def decode_s(self, size: Size) -> float:
        """Return how long an image will take to decode, in seconds."""
        return self._decoders.estimate(size, self._clock())

    def refuses(self, deadline: float, finish: float) -> bool:
        """Whether an image that would end at `finish` is too late."""
        return finish > deadline and not self._latency.is_stale(self._clock())
