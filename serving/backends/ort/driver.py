"""NVIDIA's driver: which GPUs there are, and whether it and they can run what ONNX Runtime brings.

Source: the CUDA driver API (libcuda), through ctypes. Nothing here makes a context on a GPU.
"""

import ctypes
import platform
import uuid
from typing import NamedTuple

NAME_BYTES = 99
# Of the driver's enum CUdevice_attribute: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR.
MAJOR, MINOR = 75, 76
# The release of onnxruntime-gpu that the facts below were read from.
RELEASE = "1.31.1"
# The version of CUDA that it is built with, and the first driver that offers it. A driver runs what
# was built with its own or a lower minor version, and with a higher one: "CUDA Compatibility",
# minor version compatibility.
CUDA, DRIVER = (13, 0), 580
# The GPUs that its CUDA provider has code for, by machine: the section .nv_fatbin of its library.
# There is no PTX in it, which a driver could compile for others.
DEVICE_CODE = {
    "x86_64": ((7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0)),
    "aarch64": ((8, 9), (9, 0), (12, 0), (12, 1)),
}


class CudaError(Exception):
    """The driver is missing, or refuses."""


class Capability(NamedTuple):
    """A GPU's compute capability: its architecture, and the revision of that."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"sm_{self.major}{self.minor}"

    def runs(self, built_for: tuple[int, int]) -> bool:
        """Return whether a GPU of this capability runs binary code that was built for another one.

        It does within one major version, if it has the same or a later revision (NVIDIA, "CUDA C++
        Programming Guide", section "Binary Compatibility"). That holds for cards. Of the GPUs of
        Tegra chips, which it excludes, none has a major version that `DEVICE_CODE` has code for on
        their machine, but for one (8.7), which is older than that code (8.9).
        """
        major, minor = built_for
        return self.major == major and self.minor >= minor


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


def too_old() -> str | None:
    """Return that the driver is too old for ONNX Runtime; None if it is not."""
    offered = driver_cuda()
    if offered >= CUDA:
        return None
    return (
        f"the NVIDIA driver offers CUDA {_dotted(offered)}, and onnxruntime-gpu {RELEASE} needs "
        f"CUDA {_dotted(CUDA)}: install driver {DRIVER} or newer"
    )


def without_code(ordinal: int, release: str) -> str | None:
    """Return that ONNX Runtime's CUDA provider has no code for a GPU; None if it has some.

    Args:
        ordinal: number of the GPU.
        release: version of onnxruntime-gpu; None is returned for any but `RELEASE`, too.
    """
    built_for = DEVICE_CODE.get(platform.machine())
    if release != RELEASE or not built_for:
        return None
    capability = gpu_capability(ordinal)
    if any(capability.runs(built) for built in built_for):
        return None
    held = ", ".join(str(Capability(*built)) for built in built_for)
    return (
        f"{gpu_name(ordinal)} is {capability}, and onnxruntime-gpu {release} for "
        f"{platform.machine()} has no code for that, only for {held}"
    )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


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
