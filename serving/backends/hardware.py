"""What this machine lacks to run a runtime on a device, in words that say how to get it."""

import ctypes
import subprocess
import sys
from functools import cache
from pathlib import Path

from serving.backends.devices import Device, Kind
from serving.backends.ort.options import PROVIDERS
from serving.backends.settings import Runtime

PACKAGES: dict[Kind, str] = {
    "cpu": "onnxruntime (extra `serving`)",
    "cuda": "onnxruntime-gpu in place of onnxruntime (extra `cuda`)",
    "tensorrt": "onnxruntime-gpu in place of onnxruntime (extra `cuda`)",
    "ascend": "onnxruntime-cann in place of onnxruntime (serving/backends/README.md)",
}
TIMEOUT_S = 60
# In a process of its own: a provider that is loaded before ONNX Runtime asks for it never works.
LOAD_PROVIDER = """
import ctypes, pathlib, sys
import onnxruntime
if hasattr(onnxruntime, "preload_dlls"):
    onnxruntime.preload_dlls()
folder = pathlib.Path(onnxruntime.__file__).parent / "capi"
for name in ("shared", sys.argv[1]):
    path = folder / f"libonnxruntime_providers_{name}.so"
    ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
"""
LIBRARIES: dict[Kind, str] = {"cuda": "cuda", "tensorrt": "tensorrt", "ascend": "cann"}


def missing(runtime: Runtime, device: Device, lite_python: Path | None = None) -> str | None:
    """Return what is missing here for `runtime` on `device`, None where nothing is.

    What it does not see (a library too old, memory too small) shows when a model is loaded.
    """
    if runtime == "mindspore-lite":
        return _lite(lite_python or Path(sys.executable)) or _hardware(device)
    return _package(device.kind) or _hardware(device) or _libraries(device.kind)


def _package(kind: Kind) -> str | None:
    try:
        from onnxruntime import get_available_providers
    except ImportError as error:
        return f"onnxruntime cannot be imported ({error}); install {PACKAGES[kind]}"
    if PROVIDERS[kind] in get_available_providers():
        return None
    return f"onnxruntime has no {PROVIDERS[kind]} here; install {PACKAGES[kind]}"


def _libraries(kind: Kind) -> str | None:
    if kind not in LIBRARIES:
        return None
    trouble = _trouble(Path(sys.executable), LOAD_PROVIDER, LIBRARIES[kind])
    return f"{PROVIDERS[kind]} cannot be loaded: {trouble}" if trouble else None


def _lite(python: Path) -> str | None:
    trouble = _trouble(python, "import mindspore_lite")
    if not trouble:
        return None
    return f"{python} cannot import mindspore_lite ({trouble}); name one that can: --lite-python"


@cache
def _trouble(python: Path, program: str, *arguments: str) -> str | None:
    """Return the last line of what a program says when it fails, None where it does not."""
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter that the operator names
            [python, "-c", program, *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    last = done.stderr.strip().rpartition("\n")[2]
    return (last or f"exit code {done.returncode}") if done.returncode else None


def present(kind: Kind) -> int:
    """Return how many devices of a kind the machine shows."""
    if kind == "ascend":
        return len(list(Path("/dev").glob("davinci[0-9]*")))
    return 1 if kind == "cpu" else _count_gpus()[0]


def describe(device: Device) -> str:
    """Return the device with the model of the GPU, where it is one; it must be there."""
    if device.kind not in ("cuda", "tensorrt"):
        return str(device)
    driver, number, name = (
        ctypes.CDLL("libcuda.so.1"),
        ctypes.c_int(),
        ctypes.create_string_buffer(99),
    )
    driver.cuInit(0)
    driver.cuDeviceGet(ctypes.byref(number), device.ordinal)
    driver.cuDeviceGetName(name, len(name), number)
    return f"{device} ({name.value.decode()})"


def _hardware(device: Device) -> str | None:
    if device.kind == "cpu":
        return None
    if device.kind == "ascend":
        path = Path(f"/dev/davinci{device.ordinal}")
        return None if path.exists() else f"no NPU {device.ordinal}: there is no {path}"
    gpus, trouble = _count_gpus()
    if trouble or device.ordinal < gpus:
        return trouble
    return f"no GPU {device.ordinal}: the driver shows {gpus}, counted from 0"


def _count_gpus() -> tuple[int, str | None]:
    """Return how many GPUs the driver shows, and why none where that has a reason."""
    count = ctypes.c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return 0, f"no NVIDIA driver: {error}"
    if code := driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0, f"the NVIDIA driver reports CUDA error {code}: no GPU, or none that may be used"
    return count.value, None
