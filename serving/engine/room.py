"""What may be in flight at once, and the share of it that each image holds."""

import mmap
import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from images.transform import Pixels
from serving.engine.sources import Size


class Limits(NamedTuple):
    """Images, their bytes as they arrived, and their pixels before the transform."""

    images: int
    nbytes: int
    pixels: int


class Room:
    """Bounds what is in flight; any thread may call.

    There is a slot for each image, uint8 (height, width, 3), in one anonymous mmap: a slot takes
    memory only once it is used.
    """

    def __init__(self, limits: Limits, height: int, width: int) -> None:
        self.limits = limits
        shape = (limits.images, height, width, 3)
        memory = np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8)
        self.slots: Pixels = memory.reshape(shape)
        self._free = deque(range(limits.images))
        self._nbytes = self._pixels = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> Limits:
        """What is in flight now."""
        return Limits(len(self.slots) - len(self._free), self._nbytes, self._pixels)

    def lacking(self, request: Limits) -> str | None:
        """Return the name of the first limit that a request would exceed now, if any."""
        for name, taken, needed, limit in zip(
            Limits._fields, self.taken, request, self.limits, strict=True
        ):
            if taken + needed > limit:
                return name
        return None

    def take(self, sizes: Sequence[Size]) -> "list[Lease] | None":
        """Return a lease for each image, or None if there is no room for all of them."""
        request = total(sizes)
        with self._lock:
            if self.lacking(request):
                return None
            self._nbytes += request.nbytes
            self._pixels += request.pixels
            return [Lease(self, self._free.pop(), size) for size in sizes]

    def give_back(self, lease: "Lease") -> None:
        """Take back what a lease holds, unless that has been done."""
        with self._lock:
            if lease.is_open:
                lease.is_open = False
                # The slot given back last is taken first: its memory is still in the cache.
                self._free.append(lease.number)
                self._nbytes -= lease.size.nbytes
                self._pixels -= lease.size.pixels


class Lease:
    """What one image holds: a slot, and its share of the bytes and pixels in flight."""

    __slots__ = ("_room", "is_open", "number", "size")

    def __init__(self, room: Room, number: int, size: Size) -> None:
        self._room, self.number, self.size = room, number, size
        self.is_open = True

    @property
    def slot(self) -> Pixels:
        """Its slot, uint8 (height, width, 3), writable until it is closed."""
        view: Pixels = self._room.slots[self.number]
        return view

    def close(self) -> None:
        """Give it back; does nothing the second time."""
        self._room.give_back(self)


def total(sizes: Sequence[Size]) -> Limits:
    """Return what images need together."""
    return Limits(len(sizes), sum([s.nbytes for s in sizes]), sum([s.pixels for s in sizes]))
