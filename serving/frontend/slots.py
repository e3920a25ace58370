"""Memory that a front end writes pixels into and the engine reads: the slots of one model.

It is a file without a name, whose size nobody can change: else who shortened it could end whoever
reads it. The engine makes it and maps it for reading only. Two processes have it, and no others.
"""

import fcntl
import math
import mmap
import os
import threading
from pathlib import Path

import numpy as np

from images.transform import Pixels
from serving.engine.room import Lease
from serving.engine.sources import Size
from serving.errors import StartupError
from serving.memory import free

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Memory:
    """The engine's side.

    Args:
        slots: how many; each takes memory once it is used.
        height, width: of a slot, in pixels.

    Attributes:
        descriptor: for the front end.
        pixels: uint8 (slots, height, width, 3), read-only.
    """

    def __init__(self, slots: int, height: int, width: int) -> None:
        shape = slots, height, width, 3
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        self.descriptor = os.memfd_create("serving-slots", flags)
        try:
            os.ftruncate(self.descriptor, math.prod(shape))
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, SEALS)
            mapped = mmap.mmap(self.descriptor, math.prod(shape), prot=mmap.PROT_READ)
        except OSError:
            self.close()
            raise
        self.pixels: Pixels = np.frombuffer(mapped, np.uint8).reshape(shape)

    def close(self) -> None:
        """Close the descriptor. What is mapped stays until nobody refers to it."""
        os.close(self.descriptor)


class Slots:
    """The front end's side; any thread may call.

    Args:
        descriptor: of the memory; closed here.
        slots, height, width: its shape.

    Attributes:
        pixels: uint8 (slots, height, width, 3).
    """

    def __init__(self, descriptor: int, slots: int, height: int, width: int) -> None:
        shape = slots, height, width, 3
        try:
            mapped = mmap.mmap(descriptor, math.prod(shape))
        finally:
            os.close(descriptor)
        self.pixels: Pixels = np.frombuffer(mapped, np.uint8).reshape(shape)
        # The slot given back last is taken first: its memory is still in the cache.
        self._free = [*reversed(range(slots))]
        self._changed = threading.Condition()

    def take_now(self) -> int:
        """Return a free slot, -1 if there is none."""
        with self._changed:
            return self._free.pop() if self._free else -1

    def take(self) -> int:
        """Return a free slot; wait for one.

        There will be one: whoever has a slot waits for no other before it is free again.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            return self._free.pop()

    def give_back(self, *slots: int) -> None:
        """Take back slots that nobody uses."""
        with self._changed:
            self._free += slots
            self._changed.notify(len(slots))


class SlotLease(Lease):
    """What a job of a front end holds: a slot, taken when its decoding begins."""

    __slots__ = ("_slots", "_taken")

    def __init__(self, slots: Slots, size: Size, *, is_slow: bool) -> None:
        self._slots, self._taken = slots, -1
        self.size, self.is_slow = size, is_slow

    @property
    def slot(self) -> Pixels:
        """Its slot; waits for one the first time."""
        if self._taken < 0:
            self._taken = self._slots.take()
        view: Pixels = self._slots.pixels[self._taken]
        return view

    def slow_down(self) -> None:
        """Note that its image is slow to decode; give the slot back until it is its turn."""
        self.is_slow = True
        self.close()

    def pass_on(self) -> int:
        """Return the number of the slot, which is the engine's from now on."""
        taken, self._taken = self._taken, -1
        return taken

    def close(self) -> None:
        """Give the slot back, if it has one; does nothing the second time."""
        if (taken := self.pass_on()) >= 0:
            self._slots.give_back(taken)


def check_memory(frontends: int, slots: int, height: int, width: int) -> None:
    """Raise `StartupError` if this machine has no room for the slots of a model in all front ends.

    They take memory only once they are used, and then there must be some: a process that finds
    none is ended.
    """
    needed = frontends * slots * height * width * 3
    room = min(free(Path("/")), key=lambda one: one.free, default=None)
    if room and needed > room.free:
        raise StartupError(
            f"--frontends {frontends} needs up to {needed:,} bytes of shared memory for the pixels "
            f"of {slots} images of {height} x {width} in each, but {room.free:,} are free in "
            f"{room.of}; lower --max-inflight-images or --frontends"
        )
    try:
        Memory(slots, height, width).close()
    except OSError as error:
        raise StartupError(
            f"--frontends {frontends}: this process may not have shared memory of "
            f"{slots * height * width * 3:,} bytes for the pixels of {slots} images of {height} x "
            f"{width}: {error.strerror} (ulimit -a); lower --max-inflight-images"
        ) from error
