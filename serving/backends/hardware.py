"""The devices of this machine, and what it lacks to run a runtime on one of them."""

import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

from bundle.kinds import Precision
from cli.gpus import CudaError, count_gpus, gpu_name
from serving.backends.ascend import count_npus, missing_npu
from serving.backends.devices import Device, Kind
from serving.backends.ort.needs import too_old, without_code
from serving.backends.ort.options import PROVIDERS
from serving.backends.settings import Runtime

PACKAGES: dict[Kind, str] = {
    "cpu": "onnxruntime (extra `serving`)",
    "cuda": "onnxruntime-gpu in place of onnxruntime (extra `cuda`)",
    "tensorrt": "onnxruntime-gpu in place of onnxruntime (extra `tensorrt`)",
    "ascend": "onnxruntime-cann in place of onnxruntime (serving/backends/README.md)",
}
# What the TensorRT provider is linked with, of TensorRT.
TENSORRT = ("libnvinfer.so", "libnvonnxparser.so")
TIMEOUT_S = 60
# Linux's names of what OpenVINO computes bf16 with: none of aarch64.
BF16 = {"avx512_bf16", "amx_bf16"}
# Runs in a process of its own: a provider that is loaded before ONNX Runtime does so never works.
LOAD_PROVIDER = """
import sys
from serving.backends.ort.library import load_provider
load_provider(sys.argv[1])
"""


def missing(
    runtime: Runtime,
    device: Device,
    lite_python: Path | None = None,
    precision: Precision | None = None,
) -> str | None:
    """Return what `runtime` lacks to run on `device`, and how to get it; None if it lacks nothing.

    Other obstacles (a library too old, too little memory) show only when a model is loaded.

    Args:
        runtime: the runtime.
        device: the device.
        lite_python: interpreter that has mindspore_lite; None for this one.
        precision: what must be computed in; None if any will do.
    """
    if runtime == "mindspore-lite":
        return _missing_lite(lite_python or Path(sys.executable)) or _missing_hardware(device)
    if runtime == "openvino":
        return _missing_openvino() or (_missing_bf16() if precision == "bf16" else None)
    return (
        _missing_package(device.kind)
        or _missing_hardware(device)
        or _missing_libraries(device.kind)
    )


def present(kind: Kind) -> int:
    """Return how many devices of a kind the machine has."""
    if kind == "cpu":
        return 1
    if kind == "ascend":
        return count_npus()
    try:
        return count_gpus()
    except CudaError:
        return 0


def describe(device: Device) -> str:
    """Return the name of a device that is present; for a GPU, with its model."""
    if device.kind not in ("cuda", "tensorrt"):
        return str(device)
    return f"{device} ({gpu_name(device.ordinal)})"


def _missing_package(kind: Kind) -> str | None:
    if kind == "tensorrt" and platform.machine() != "x86_64":
        return (
            f"onnxruntime-gpu for {platform.machine()} has no TensorRT, which the one for x86-64 "
            f"has; use cuda"
        )
    try:
        from serving.backends.ort.library import onnxruntime
    except ImportError as error:
        return f"onnxruntime cannot be imported ({error}); install {PACKAGES[kind]}"
    if PROVIDERS[kind] in onnxruntime.get_available_providers():
        return None
    return f"onnxruntime has no {PROVIDERS[kind]} here; install {PACKAGES[kind]}"


def _missing_hardware(device: Device) -> str | None:
    if device.kind == "cpu":
        return None
    if device.kind == "ascend":
        return missing_npu(device.ordinal)
    try:
        return _missing_gpu(device)
    except CudaError as error:
        return str(error)


def _missing_gpu(device: Device) -> str | None:
    from serving.backends.ort.library import onnxruntime

    gpus = count_gpus()
    if device.ordinal >= gpus:
        return f"no GPU {device.ordinal}: the driver shows {gpus}, counted from 0"
    # The TensorRT provider has no code for GPUs: TensorRT itself brings that.
    is_cuda = device.kind == "cuda"
    return too_old() or (without_code(device.ordinal, onnxruntime.__version__) if is_cuda else None)


def _missing_libraries(kind: Kind) -> str | None:
    if kind == "cpu":
        return None
    if not (failure := _failure(Path(sys.executable), LOAD_PROVIDER, kind)):
        return None
    lacks_tensorrt = any(library in failure for library in TENSORRT)
    hint = "; install TensorRT 10 (extra `tensorrt`)" * lacks_tensorrt
    return f"{PROVIDERS[kind]} cannot be loaded: {failure}{hint}"


def _missing_openvino() -> str | None:
    try:
        import serving.backends.openvino.library  # noqa: F401 - whether it can be imported
    except ImportError as error:
        return f"openvino cannot be imported ({error}); install openvino (extra `serving`)"
    return None


def _missing_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Read the kernel's list: OpenVINO counts CPUs on which it imitates bf16, slowly."""
    if BF16 & set(cpuinfo.read_text().split()):
        return None
    return f"this CPU cannot compute in bf16: it has neither {' nor '.join(sorted(BF16))}"


def _missing_lite(python: Path) -> str | None:
    if not (failure := _failure(python, "import mindspore_lite")):
        return None
    return (
        f"{python} cannot import mindspore_lite ({failure}); "
        f"name an interpreter that can: --lite-python"
    )


@cache
def _failure(python: Path, program: str, *arguments: str) -> str | None:
    """Run a program; return the last line of its error output, or None if it succeeds."""
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
