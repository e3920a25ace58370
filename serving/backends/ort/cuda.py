"""The memory in use on NVIDIA's GPUs, and page-locked host memory.

Sources: of the CUDA runtime API (libcudart), `cudaHostRegister` and `cudaHostUnregister`, through
ctypes; NVML through nvidia-ml-py.
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

from images.transform import Pixels
from serving.backends.devices import Device
from serving.backends.ort.driver import CudaError, gpu_uuid
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
