"""The slots into which images are decoded; their number is the admission limit."""

import mmap
from collections import deque

import numpy as np

from images.transform import Pixels


class PixelPool:
    """`slots` images of uint8 (height, width, 3) in one anonymous mmap.

    Memory is touched only as slots are first used. Its owner locks what acquires and releases.
    """

    def __init__(self, slots: int, height: int, width: int) -> None:
        shape = (slots, height, width, 3)
        self._pixels: Pixels = np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8)
        self._pixels = self._pixels.reshape(shape)
        self._free = deque(range(slots))

    def __len__(self) -> int:
        """Number of slots, taken or free."""
        return len(self._pixels)

    @property
    def taken(self) -> int:
        """Number of slots in use."""
        return len(self._pixels) - len(self._free)

    def acquire(self, slots: int) -> list[int]:
        """Return so many free slots; raise `IndexError` where there are not enough."""
        if slots > len(self._free):
            raise IndexError(f"{slots} slots are needed, {len(self._free)} are free")
        return [self._free.pop() for _ in range(slots)]

    def release(self, slot: int) -> None:
        """Give a slot back."""
        # The latest slot is handed out first: its memory is still in the cache.
        self._free.append(slot)

    def __getitem__(self, slot: int) -> Pixels:
        """Return a writable view (height, width, 3) of a slot."""
        view: Pixels = self._pixels[slot]
        return view

    def gather(self, slots: list[int], buffer: Pixels) -> None:
        """Copy slots into the first rows of `buffer`, uint8 (n, height, width, 3)."""
        np.take(self._pixels, slots, axis=0, out=buffer[: len(slots)], mode="clip")
