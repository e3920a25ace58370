"""The memory in use on NVIDIA's GPUs, and page-locked host memory.

Sources: of the CUDA runtime API (libcudart), `cudaHostRegister` and `cudaHostUnregister` with what
they need, through ctypes; NVML through nvidia-ml-py.
"""

import ctypes
import logging
import mmap
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cli.gpus import CudaError, gpu_uuid
from images.transform import Pixels
from serving.backends.devices import Device
from serving.errors import StartupError

logger = logging.getLogger(__name__)

MEMORY_METRIC = "serving_device_memory_bytes"
MEMORY_HELP = "Memory of a GPU in bytes: used, by all processes, and total"
# cudaHostRegisterPortable: locked for every device, not only for the current one.
PORTABLE = 1


class HostMemory(Protocol):
    """Allocates the buffers that the engine fills."""

    def allocate(self, shape: tuple[int, ...]) -> Pixels:
        """Return zeroed uint8 memory of a shape."""

    def close(self) -> None:
        """Release it."""


class PinnedMemory:
    """Hands out page-locked uint8 arrays, which a GPU reads at the full speed of its bus.

    Where memory cannot be locked, as in some sandboxes, they are ordinary ones.

    Args:
        cudart: the CUDA runtime library; see `load_runtime`.
        ordinal: number of the GPU that reads them.
    """

    def __init__(self, cudart: ctypes.CDLL, ordinal: int) -> None:
        self._cudart, self._ordinal = cudart, ordinal
        self._locked: list[Pixels] = []
        self._may_lock = True

    def allocate(self, shape: tuple[int, ...]) -> Pixels:
        """Return zeroed memory on pages of its own, locked if the system allows it."""
        array: Pixels = np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8)
        if self._may_lock and (code := self._lock(array)):
            logger.warning(
                "cuda:%d: %d bytes cannot be page-locked (CUDA error %d): batches are copied from "
                "ordinary memory, which takes longer",
                self._ordinal,
                array.nbytes,
                code,
            )
            self._may_lock = False
        return array.reshape(shape)

    def close(self) -> None:
        """Unlock everything; the arrays stay valid."""
        self._cudart.cudaSetDevice(self._ordinal)
        for array in self._locked:
            self._cudart.cudaHostUnregister(ctypes.c_void_p(array.ctypes.data))
        self._locked.clear()

    def _lock(self, array: Pixels) -> int:
        """Lock an array; return CUDA's error, 0 if there is none."""
        address, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        # Both calls use the thread's current device, and would make a context on that: GPU 0.
        code: int = self._cudart.cudaSetDevice(self._ordinal) or self._cudart.cudaHostRegister(
            address, size, PORTABLE
        )
        if code:
            # Else the thread keeps the error, and ONNX Runtime's next kernel seems to have failed.
            self._cudart.cudaGetLastError()
        else:
            self._locked.append(array)
        return code


def load_runtime(cuda_version: str) -> ctypes.CDLL:
    """Load the CUDA runtime of a version ("13.0"), such as the one ONNX Runtime was built with."""
    return ctypes.CDLL(f"libcudart.so.{cuda_version.partition('.')[0]}")


def watch_gpu_memory(registry: CollectorRegistry, devices: Sequence[Device]) -> None:
    """Export the memory of the GPUs among `devices`, read from the driver at each scrape.

    Raises:
        StartupError: it cannot be read.
    """
    if gpus := [device for device in devices if device.kind in ("cuda", "tensorrt")]:
        registry.register(GpuMemory(gpus))


class GpuMemory(Collector):
    """Asks NVML for the memory of GPUs, given by their CUDA numbers.

    NVML ignores CUDA_VISIBLE_DEVICES and so numbers GPUs differently: they are matched by UUID.
    """

    def __init__(self, devices: Sequence[Device]) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise StartupError(f"{error}: install nvidia-ml-py (extra `cuda`)") from error
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = {
                str(device): pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{gpu_uuid(device.ordinal)}")
                for device in devices
            }
        except (pynvml.NVMLError, CudaError) as error:
            raise StartupError(f"GPU memory cannot be read: {error}") from error
        self._lost: set[str] = set()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the gauge, labels `device` and `kind` (used, total), in bytes.

        A GPU whose memory cannot be read is left out, so that the scrape does not fail.
        """
        gauge = GaugeMetricFamily(MEMORY_METRIC, MEMORY_HELP, labels=("device", "kind"))
        for device, handle in self._handles.items():
            try:
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            except self._nvml.NVMLError as error:
                self._log_once(device, error)
                continue
            gauge.add_metric((device, "used"), memory.used)
            gauge.add_metric((device, "total"), memory.total)
        yield gauge

    def _log_once(self, device: str, error: Exception) -> None:
        if device not in self._lost:
            logger.error("%s: its memory cannot be read: %s", device, error)
            self._lost.add(device)
