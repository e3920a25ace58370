import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from prometheus_client import CollectorRegistry

from serving.backends.devices import Device, parse_devices
from serving.backends.hardware import present
from serving.backends.ort import cuda
from serving.backends.ort.cuda import MEMORY_METRIC, watch_gpu_memory
from serving.errors import StartupError

UUIDS = [bytes(range(16)), bytes(range(16, 32))]


class Driver:
    """The three calls of libcuda, for two GPUs."""

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return flags

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = ordinal
        return 0 if ordinal < len(UUIDS) else 101

    def cuDeviceGetUuid(self, raw: Any, device: Any) -> int:  # noqa: N802
        ctypes.memmove(raw._obj, UUIDS[device.value], 16)
        return 0


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = {
        "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f": SimpleNamespace(used=10, total=100),
        "GPU-10111213-1415-1617-1819-1a1b1c1d1e1f": SimpleNamespace(used=20, total=200),
    }
    monkeypatch.setattr(cuda.ctypes, "CDLL", lambda _: Driver())
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda name: name)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", memory.__getitem__)


@pytest.mark.usefixtures("two_gpus")
def test_each_gpu_has_its_memory() -> None:
    registry = CollectorRegistry()
    watch_gpu_memory(registry, parse_devices("cuda:0-1"))
    values = [
        registry.get_sample_value(MEMORY_METRIC, {"device": device, "kind": kind})
        for device in ("cuda:0", "cuda:1")
        for kind in ("used", "total")
    ]
    assert values == [10, 100, 20, 200]


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_the_driver_does_not_know_is_an_error() -> None:
    with pytest.raises(StartupError, match="cuda:2: the driver cannot identify it: CUDA error 101"):
        watch_gpu_memory(CollectorRegistry(), [Device("tensorrt", 2)])


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_is_lost_is_left_out_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = pynvml.nvmlDeviceGetMemoryInfo

    def lose_the_first(handle: str) -> object:
        if handle.startswith("GPU-00"):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return read(handle)

    registry = CollectorRegistry()
    watch_gpu_memory(registry, parse_devices("cuda:0-1"))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lose_the_first)
    for _ in range(2):
        [gauge] = registry.collect()
        assert [sample.labels["device"] for sample in gauge.samples] == ["cuda:1", "cuda:1"]
    [said] = caplog.messages
    assert said.startswith("cuda:0: its memory cannot be read: ")


@pytest.mark.parametrize("device", ["cpu", "ascend:0"])
def test_other_devices_have_no_such_metric(device: str) -> None:
    registry = CollectorRegistry()
    watch_gpu_memory(registry, parse_devices(device))
    assert list(registry.collect()) == []


@pytest.mark.skipif(bool(present("cuda")) or Path("/dev/nvidiactl").exists(), reason="has a GPU")
def test_without_a_driver_the_real_nvml_says_so() -> None:
    with pytest.raises(StartupError, match="GPU memory cannot be read: NVML Shared Library"):
        watch_gpu_memory(CollectorRegistry(), [Device("cuda")])
