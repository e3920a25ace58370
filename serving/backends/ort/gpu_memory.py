"""The metric `serving_device_memory_bytes`: read from the driver at each scrape, on GPUs only."""

import logging
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from serving.backends.devices import Device
from serving.backends.ort.cuda import CudaError, gpu_uuid
from serving.errors import StartupError

logger = logging.getLogger(__name__)

NAME = "serving_device_memory_bytes"
HELP = "Memory of a GPU in bytes: used, by all processes, and total"


def watch_gpu_memory(registry: CollectorRegistry, devices: Sequence[Device]) -> None:
    """Export the memory of the GPUs among `devices`; raise `StartupError` if it cannot be read."""
    if gpus := [device for device in devices if device.kind in ("cuda", "tensorrt")]:
        registry.register(GpuMemory(gpus))


class GpuMemory(Collector):
    """Asks NVML (nvidia-ml-py) for the memory of GPUs that CUDA numbers.

    NVML ignores CUDA_VISIBLE_DEVICES, so that the two number GPUs differently: UUIDs tell which.
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

        A GPU that the driver cannot read is left out, so that a lost GPU does not end the scrape.
        """
        gauge = GaugeMetricFamily(NAME, HELP, labels=("device", "kind"))
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
