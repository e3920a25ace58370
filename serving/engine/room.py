"""What may be in flight at once, and the share of it that each image holds."""

import mmap
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import compress
from operator import add, sub
from typing import Literal, NamedTuple

import numpy as np

from images.transform import Pixels
from serving.engine.sources import Size


class Limits(NamedTuple):
    """Images, their bytes as they arrived, and their pixels before the transform."""

    images: int
    nbytes: int
    pixels: int


NOTHING = Limits(0, 0, 0)
# Share of each limit that slow images may take together: the others find room however many slow
# ones wait.
SLOW_SHARE = 0.75


class Lack(NamedTuple):
    """A limit that a request would exceed.

    Attributes:
        name: of the limit, in `Limits`.
        of: whose limit it is: of all images, of those that are slow to decode, of one caller.
        taken, needed, limit: what is taken of it, what the request needs, and all that there is.
    """

    name: str
    of: Literal["all", "slow", "caller"]
    taken: int
    needed: int
    limit: int


class Room:
    """Bounds what is in flight; any thread may call.

    There is a slot for each image, uint8 (height, width, 3), in one anonymous mmap: a slot takes
    memory only once it is used.

    Args:
        limits: what may be in flight.
        height, width: of a slot, in pixels.
        share: what one caller may take of each limit; 1: callers are not told apart.
    """

    def __init__(self, limits: Limits, height: int, width: int, share: float = 1.0) -> None:
        self.limits = limits
        self.has_shares = share < 1
        self._share_limits = Limits(*(int(share * limit) for limit in limits))
        self._held: dict[str, Limits] = {}  # by caller, of those who have something in flight
        self._slow_limits = Limits(*(int(SLOW_SHARE * limit) for limit in limits))
        shape = (limits.images, height, width, 3)
        memory = np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8)
        self.slots: Pixels = memory.reshape(shape)
        self._free = deque(range(limits.images))
        self._nbytes = self._pixels = 0
        self._slow = NOTHING
        self._lock = threading.Lock()

    @property
    def taken(self) -> Limits:
        """What is in flight now."""
        return Limits(self.limits.images - len(self._free), self._nbytes, self._pixels)

    def lacking(self, request: Limits, slow: Limits = NOTHING, caller: str = "") -> Lack | None:
        """Return the first limit that a request would exceed now, if any.

        Args:
            request: what it needs.
            slow: the part of that for images that are slow to decode. One of them may enter
                whatever its size if no other is in flight.
            caller: whose request it is; matters only if callers have shares.
        """
        lack = None
        if self.has_shares:
            held = self._held.get(caller, NOTHING)
            lack = _lack("caller", held, request, self._share_limits)
        lack = lack or _lack("all", self.taken, request, self.limits)
        if not lack and slow.images and (slow.images > 1 or self._slow.images):
            lack = _lack("slow", self._slow, slow, self._slow_limits)
        return lack

    def take(
        self, sizes: Sequence[Size], slow: Sequence[bool], caller: str = ""
    ) -> "list[Lease] | None":
        """Return a lease for each image, or None if there is no room for all of them.

        Args:
            sizes: what they claim to be.
            slow: which of them are slow to decode.
            caller: whose they are; matters only if callers have shares.
        """
        request = total(sizes)
        slowly = total([*compress(sizes, slow)]) if True in slow else NOTHING
        with self._lock:
            if self.lacking(request, slowly, caller):
                return None
            if self.has_shares:
                self._held[caller] = Limits(*map(add, self._held.get(caller, NOTHING), request))
            self._nbytes += request.nbytes
            self._pixels += request.pixels
            if slowly.images:
                self._slow = Limits(*map(add, self._slow, slowly))
            return [
                Lease(self, self._free.pop(), size, caller, is_slow=is_slow)
                for size, is_slow in zip(sizes, slow, strict=True)
            ]

    def slow_down(self, lease: "Lease") -> None:
        """Count a lease as slow from now on, even if those then hold more than their share."""
        with self._lock:
            if lease.is_open and not lease.is_slow:
                lease.is_slow = True
                self._slow = Limits(*map(add, self._slow, total([lease.size])))

    def give_back(self, lease: "Lease") -> bool:
        """Take back what a lease holds; return False if that has been done."""
        with self._lock:
            if not lease.is_open:
                return False
            lease.is_open = False
            # The slot given back last is taken first: its memory is still in the cache.
            self._free.append(lease.number)
            self._nbytes -= lease.size.nbytes
            self._pixels -= lease.size.pixels
            if lease.is_slow:
                self._slow = Limits(*map(sub, self._slow, total([lease.size])))
            if self.has_shares:
                held = Limits(*map(sub, self._held.pop(lease.caller), total([lease.size])))
                if held.images:
                    self._held[lease.caller] = held
            return True


class Lease:
    """What one image holds: a slot, and its share of the bytes and pixels in flight.

    Attributes:
        on_close: called once it has been given back, with no lock held; None for nothing.
    """

    __slots__ = ("_room", "caller", "is_open", "is_slow", "number", "on_close", "size")

    def __init__(self, room: Room, number: int, size: Size, caller: str, *, is_slow: bool) -> None:
        self._room, self.number = room, number
        self.size, self.caller, self.is_slow = size, caller, is_slow
        self.is_open = True
        self.on_close: Callable[[], None] | None = None

    @property
    def slot(self) -> Pixels:
        """Its slot, uint8 (height, width, 3), writable until it is closed."""
        view: Pixels = self._room.slots[self.number]
        return view

    def slow_down(self) -> None:
        """Note that its image is slow to decode, which was not to be seen at admission."""
        self._room.slow_down(self)

    def close(self) -> None:
        """Give it back; does nothing the second time."""
        if self._room.give_back(self) and self.on_close:
            self.on_close()


def total(sizes: Sequence[Size]) -> Limits:
    """Return what images need together."""
    nbytes = pixels = 0
    for size in sizes:
        nbytes += size.nbytes
        pixels += size.pixels
    return Limits(len(sizes), nbytes, pixels)


def _lack(
    of: Literal["all", "slow", "caller"], taken: Limits, needed: Limits, limits: Limits
) -> Lack | None:
    for name, has, needs, limit in zip(Limits._fields, taken, needed, limits, strict=True):
        if has + needs > limit:
            return Lack(name, of, has, needs, limit)
    return None
