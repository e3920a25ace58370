"""What somebody decides who knows how long everything takes, now and later."""

import bisect
import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from serving.engine.buckets import fit


class Image(NamedTuple):
    """An image that was admitted."""

    deadline: float
    order: int
    decode_s: float


@dataclass
class World:
    """Everything in flight: images by deadline, and when what is busy will be free.

    Images wait for a decoder, are decoded, and wait for a device; earliest deadline first. A device
    takes its share of those that wait, filled up to a bucket, and needs `times[bucket]` seconds.
    Who would be late in the smallest bucket is left out, except for the image in question. Without
    threads that decode, devices decode their batches, and take none that would make the first late,
    nor more than they can decode while the largest batch runs.
    """

    now: float
    threads: int
    times: Mapping[int, float]
    devices: list[float]
    undecoded: list[Image] = field(default_factory=list)
    decoding: list[tuple[float, Image]] = field(default_factory=list)
    ready: list[Image] = field(default_factory=list)

    def finish(self, image: Image) -> float:
        """Return when a new image would be answered; nothing of the world changes."""
        future = World(
            self.now,
            self.threads,
            self.times,
            [*self.devices],
            sorted([*self.undecoded, image]) if self.threads else [],
            sorted(self.decoding),
            sorted(self.ready if self.threads else [*self.ready, image]),
        )
        while (end := future._start(image)) is None:
            future._advance()
        return end

    def _start(self, image: Image) -> float | None:
        """Give work to whatever is free; return when the image ends, if it was among it."""
        while self.undecoded and len(self.decoding) < self.threads:
            begun = self.undecoded.pop(0)
            heapq.heappush(self.decoding, (self.now + begun.decode_s, begun))
        for index, free in enumerate(self.devices):
            if free <= self.now and (batch := self._take(image)):
                decode_s = sum(map(self._decode_s, batch))
                self.devices[index] = self.now + decode_s + self.times[self._fit(len(batch))]
                if image in batch:
                    return self.devices[index]
        return None

    def _take(self, image: Image) -> list[Image]:
        """Return a device's share of those that can be in time, as many as the first can bear."""
        share = math.ceil(len(self.ready) / len(self.devices))
        self.ready = [held for held in self.ready if held is image or not self._is_late(held)]
        if not self.ready:
            return []
        first = self.ready.pop(0)
        spare_s, decode_s = first.deadline - self.now, self._decode_s(first)
        sizes = [size for size in self.times if size <= self._fit(min(share, max(self.times)))]
        fitting = [size for size in sizes if self.times[size] + size * decode_s <= spare_s]
        size, batch = max(fitting, default=min(self.times)), [first]
        spare_s = min(spare_s - self.times[size], max(self.times.values())) - decode_s
        while self.ready and len(batch) < size:
            decode_s = self._decode_s(self.ready[0])
            if decode_s and decode_s > spare_s:
                break
            batch.append(self.ready.pop(0))
            spare_s -= decode_s
        return batch

    def _decode_s(self, image: Image) -> float:
        """Return what a device needs to decode an image that is ready for it."""
        return 0.0 if self.threads else image.decode_s

    def _is_late(self, image: Image) -> bool:
        return self.now + self._decode_s(image) + min(self.times.values()) > image.deadline

    def _fit(self, images: int) -> int:
        return fit(sorted(self.times), images)

    def _advance(self) -> None:
        """Let time pass to the next event."""
        ends = [end for end, _ in self.decoding]
        self.now = min([*ends, *(free for free in self.devices if free > self.now)])
        while self.decoding and self.decoding[0][0] <= self.now:
            bisect.insort(self.ready, heapq.heappop(self.decoding)[1])
