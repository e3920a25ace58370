"""What this machine lacks to run a runtime on a device, in words that say how to get it."""

import ctypes
import subprocess
import sys
from pathlib import Path

from serving.backends.devices import Device, Kind
from serving.runtime import Runtime

PROVIDERS: dict[Kind, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "ascend": "CANNExecutionProvider",
}
PACKAGES: dict[Kind, str] = {
    "cpu": "onnxruntime (extra `serving`)",
    "cuda": "onnxruntime-gpu in place of onnxruntime (extra `cuda`)",
    "tensorrt": "onnxruntime-gpu in place of onnxruntime (extra `cuda`)",
    "ascend": "onnxruntime-cann in place of onnxruntime (extra `cann`)",
}
LITE_TIMEOUT_S = 60


def missing(runtime: Runtime, device: Device, lite_python: Path | None = None) -> str | None:
    """Return what is missing here for `runtime` on `device`, None where nothing is.

    What it does not see (a library too old, memory too small) shows when a model is loaded.
    """
    package = _onnxruntime(device.kind) if runtime == "onnxruntime" else _lite(lite_python)
    return package or _hardware(device)


def _onnxruntime(kind: Kind) -> str | None:
    try:
        from onnxruntime import get_available_providers
    except ImportError:
        return f"onnxruntime is not installed here; install {PACKAGES[kind]}"
    if PROVIDERS[kind] in get_available_providers():
        return None
    return f"onnxruntime has no {PROVIDERS[kind]} here; install {PACKAGES[kind]}"


def _lite(python: Path | None) -> str | None:
    interpreter = python or Path(sys.executable)
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter that the operator names
            [interpreter, "-c", "import mindspore_lite"],
            capture_output=True,
            text=True,
            timeout=LITE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{interpreter} cannot be run: {error}; name another with --lite-python"
    if done.returncode == 0:
        return None
    last = done.stderr.strip().rpartition("\n")[2]
    return f"{interpreter} has no mindspore_lite ({last}); name one that has with --lite-python"


def _hardware(device: Device) -> str | None:
    if device.kind == "cpu":
        return None
    if device.kind == "ascend":
        path = Path(f"/dev/davinci{device.ordinal}")
        return None if path.exists() else f"no NPU {device.ordinal}: there is no {path}"
    return _gpu(device.ordinal)


def _gpu(ordinal: int) -> str | None:
    count = ctypes.c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"no NVIDIA driver: {error}"
    if failed := driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return f"the NVIDIA driver reports CUDA error {failed}: no GPU, or none that may be used"
    if ordinal >= count.value:
        return f"no GPU {ordinal}: the driver shows {count.value}, counted from 0"
    return None
