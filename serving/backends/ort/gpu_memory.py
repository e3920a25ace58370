"""`serving_device_memory_bytes`: read from the driver at each scrape; there only on GPUs."""

import ctypes
import logging
import uuid
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from serving.backends.devices import Device
from serving.errors import StartupError

logger = logging.getLogger(__name__)

NAME = "serving_device_memory_bytes"
HELP = "Memory in use on a device, by all processes, and in total"


def watch_gpu_memory(registry: CollectorRegistry, devices: Sequence[Device]) -> None:
    """Export the memory of those devices that are GPUs; raise `StartupError` where it cannot."""
    if gpus := [device for device in devices if device.kind in ("cuda", "tensorrt")]:
        registry.register(GpuMemory(gpus))


class GpuMemory(Collector):
    """Asks NVML (nvidia-ml-py), which sees all GPUs, for those that CUDA numbers so."""

    def __init__(self, devices: Sequence[Device]) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise StartupError(f"{error}: install nvidia-ml-py (extra `cuda`)") from error
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID
            self._handles = {str(device): handle(_uuid(device.ordinal)) for device in devices}
        except pynvml.NVMLError as error:
            raise StartupError(f"GPU memory cannot be read: {error}") from error
        self._lost: set[str] = set()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the gauge, labels `device` and `kind` (used, total), in bytes.

        A GPU that the driver cannot ask is left out, so that the other metrics tell of its loss.
        """
        gauge = GaugeMetricFamily(NAME, HELP, labels=("device", "kind"))
        for device, handle in self._handles.items():
            try:
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            except self._nvml.NVMLError as error:
                self._tell_once(device, error)
                continue
            gauge.add_metric((device, "used"), memory.used)
            gauge.add_metric((device, "total"), memory.total)
        yield gauge

    def _tell_once(self, device: str, error: Exception) -> None:
        if device not in self._lost:
            logger.error("%s: its memory cannot be read: %s", device, error)
            self._lost.add(device)


def _uuid(ordinal: int) -> str:
    """Return NVML's name of CUDA's device: CUDA_VISIBLE_DEVICES renumbers the one, not the other.

    Source: `cuDeviceGetUuid` of the CUDA driver API.
    """
    driver = ctypes.CDLL("libcuda.so.1")
    device, raw = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    code = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), ordinal)
    if code := code or driver.cuDeviceGetUuid(ctypes.byref(raw), device):
        raise StartupError(f"cuda:{ordinal}: the driver does not name it: CUDA error {code}")
    return f"GPU-{uuid.UUID(bytes=bytes(raw))}"
