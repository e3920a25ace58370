"""CUDA through ctypes: the GPUs that the driver shows, and page-locked host memory.

Sources: the CUDA driver API (libcuda), and `cudaHostRegister` and `cudaHostUnregister` of the CUDA
runtime API (libcudart), both by NVIDIA.
"""

import ctypes
import mmap
import uuid
from typing import Protocol

import numpy as np

from images.transform import Pixels
from serving.errors import StartupError

# cudaHostRegisterPortable: locked for every device, not for the current one alone.
PORTABLE = 1
NAME_BYTES = 99


class CudaError(Exception):
    """The driver is missing, or refuses."""


def count_gpus() -> int:
    """Return how many GPUs the driver shows; raise `CudaError` if it shows none."""
    count = ctypes.c_int()
    if code := _driver().cuDeviceGetCount(ctypes.byref(count)):
        raise _no_gpu(code)
    return count.value


def gpu_name(ordinal: int) -> str:
    """Return the model of a GPU, as "NVIDIA H100"."""
    name = ctypes.create_string_buffer(NAME_BYTES)
    driver, device = _device(ordinal)
    _check(driver.cuDeviceGetName(name, len(name), device), ordinal)
    return name.value.decode()


def gpu_uuid(ordinal: int) -> uuid.UUID:
    """Return the identity of a GPU, which CUDA_VISIBLE_DEVICES does not renumber."""
    raw = (ctypes.c_ubyte * 16)()
    driver, device = _device(ordinal)
    _check(driver.cuDeviceGetUuid(ctypes.byref(raw), device), ordinal)
    return uuid.UUID(bytes=bytes(raw))


def _driver() -> ctypes.CDLL:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CudaError(f"no NVIDIA driver: {error}") from error
    if code := driver.cuInit(0):
        raise _no_gpu(code)
    return driver


def _device(ordinal: int) -> tuple[ctypes.CDLL, ctypes.c_int]:
    driver, device = _driver(), ctypes.c_int()
    _check(driver.cuDeviceGet(ctypes.byref(device), ordinal), ordinal)
    return driver, device


def _check(code: int, ordinal: int) -> None:
    if code:
        raise CudaError(f"cuda:{ordinal}: the driver cannot identify it: CUDA error {code}")


def _no_gpu(code: int) -> CudaError:
    return CudaError(
        f"the NVIDIA driver reports CUDA error {code}: there is no GPU, or none may be used"
    )


class HostMemory(Protocol):
    """Where the buffers that the engine fills come from."""

    def allocate(self, shape: tuple[int, ...]) -> Pixels:
        """Return zeroed memory of a shape."""

    def close(self) -> None:
        """Release it."""


class PinnedMemory:
    """Hands out page-locked uint8 arrays, which a GPU reads at the full speed of its bus.

    Args:
        cudart: the CUDA runtime library; see `load_runtime`.
    """

    def __init__(self, cudart: ctypes.CDLL) -> None:
        self._cudart = cudart
        self._arrays: list[Pixels] = []

    def allocate(self, shape: tuple[int, ...]) -> Pixels:
        """Return zeroed memory on pages of its own; raise `StartupError` if it cannot be locked."""
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


def load_runtime(cuda_version: str) -> ctypes.CDLL:
    """Load the CUDA runtime of a version ("13.0"), such as the one ONNX Runtime was built with."""
    return ctypes.CDLL(f"libcudart.so.{cuda_version.partition('.')[0]}")
