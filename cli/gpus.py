"""NVIDIA's GPUs, as the driver shows them to this process: CUDA_VISIBLE_DEVICES renumbers them.

Source: the CUDA driver API (libcuda), through ctypes. Nothing here makes a context on a GPU.
"""

import ctypes
import uuid
from typing import NamedTuple

NAME_BYTES = 99
# Of the driver's enum CUdevice_attribute: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR.
MAJOR, MINOR = 75, 76


class CudaError(Exception):
    """The driver is missing, or refuses."""


class Capability(NamedTuple):
    """A GPU's compute capability: its architecture, and the revision of that."""

    major: int
    minor: int


def count_gpus() -> int:
    """Return how many GPUs the driver shows; raise `CudaError` if it shows none."""
    count, driver = ctypes.c_int(), _driver()
    if code := driver.cuDeviceGetCount(ctypes.byref(count)):
        raise _no_gpu(driver, code)
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


def gpu_capability(ordinal: int) -> Capability:
    """Return the compute capability of a GPU."""
    driver, device = _device(ordinal)
    found = []
    for attribute in (MAJOR, MINOR):
        value = ctypes.c_int()
        _check(driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device), ordinal)
        found.append(value.value)
    return Capability(*found)


def driver_cuda() -> tuple[int, int]:
    """Return the latest version of CUDA that the driver offers, as (13, 0)."""
    version = ctypes.c_int()
    if code := _driver().cuDriverGetVersion(ctypes.byref(version)):
        raise CudaError(f"the NVIDIA driver does not tell its version: CUDA error {code}")
    return version.value // 1000, version.value % 1000 // 10


def _driver() -> ctypes.CDLL:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CudaError(f"no NVIDIA driver: {error}") from error
    if code := driver.cuInit(0):
        raise _no_gpu(driver, code)
    return driver


def _device(ordinal: int) -> tuple[ctypes.CDLL, ctypes.c_int]:
    driver, device = _driver(), ctypes.c_int()
    _check(driver.cuDeviceGet(ctypes.byref(device), ordinal), ordinal)
    return driver, device


def _check(code: int, ordinal: int) -> None:
    if code:
        raise CudaError(f"cuda:{ordinal}: the driver cannot identify it: CUDA error {code}")


def _no_gpu(driver: ctypes.CDLL, code: int) -> CudaError:
    """Say why in the driver's words: no GPU (100), a fabric manager that does not run (802), ..."""
    text = ctypes.c_char_p()
    driver.cuGetErrorString(code, ctypes.byref(text))
    reason = text.value.decode() if text.value else "unknown"
    return CudaError(f"the NVIDIA driver shows no GPU: {reason} (CUDA error {code})")
