"""Page-locked host memory, which a GPU reads at the full speed of its bus."""

import ctypes
import mmap

import numpy as np

from images.transform import Pixels
from serving.errors import StartupError

# cudaHostRegisterPortable: locked for every device, not for the current one alone.
PORTABLE = 1


class PinnedMemory:
    """Hands out locked uint8 arrays, and unlocks them all when it closes.

    Source: `cudaHostRegister` and `cudaHostUnregister` of the CUDA runtime API, memory management.
    """

    def __init__(self, cudart: ctypes.CDLL) -> None:
        self._cudart = cudart
        self._arrays: list[Pixels] = []

    def allocate(self, shape: tuple[int, ...]) -> Pixels:
        """Return zeroed memory of its own pages; raise `StartupError` where it cannot be locked."""
        size = int(np.prod(shape))
        array: Pixels = np.frombuffer(mmap.mmap(-1, size), np.uint8)
        address = ctypes.c_void_p(array.ctypes.data)
        if code := self._cudart.cudaHostRegister(address, ctypes.c_size_t(size), PORTABLE):
            raise StartupError(f"{size} bytes cannot be page-locked: CUDA error {code}")
        self._arrays.append(array)
        return array.reshape(shape)

    def close(self) -> None:
        """Unlock everything; the arrays stay valid."""
        for array in self._arrays:
            self._cudart.cudaHostUnregister(ctypes.c_void_p(array.ctypes.data))
        self._arrays.clear()


class PlainMemory:
    """Memory as any other, in the form of `PinnedMemory`."""

    def allocate(self, shape: tuple[int, ...]) -> Pixels:
        """Return zeroed memory."""
        return np.zeros(shape, np.uint8)

    def close(self) -> None:
        """Nothing is locked."""
