"""ONNX Runtime, with its telemetry off. Nothing else here imports it: ruff sees to that.

From release 1.32 on, its import starts a thread that reports to the vendor, and keeps an identifier
of the device and a database in the user's cache folder. Only the environment stops that, and only
before the import: after `disable_telemetry_events` the thread still looks up the vendor's host.
"""

import ctypes
import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from serving.backends.devices import Kind

# Who wants the telemetry sets 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime  # noqa: TID251 - after the setting, and here alone

__all__ = ["load_provider", "onnxruntime", "preload"]

# Of the package tensorrt-cu13-libs: what the TensorRT provider is linked with, in this order.
TENSORRT = ("libnvinfer.so.10", "libnvonnxparser.so.10")


def preload(kind: Kind) -> None:
    """Load NVIDIA's libraries that are installed as Python packages: no LD_LIBRARY_PATH is needed.

    A library that is loaded is found by its name from then on, wherever it lies. What is not
    installed as a package is left to the dynamic linker's search.
    """
    onnxruntime.preload_dlls()
    package = find_spec("tensorrt_libs") if kind == "tensorrt" else None
    if package and package.origin:
        # The import loads the kernels, a library for each kind of GPU, too. TensorRT itself looks
        # for these by name, as it builds an engine.
        import_module(package.name)
        for name in TENSORRT:
            library = Path(package.origin).with_name(name)
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def load_provider(kind: Kind) -> None:
    """Load a provider's library, or raise `OSError`: ONNX Runtime itself would only log that.

    In a process of its own: a provider that is loaded before ONNX Runtime does so never works.
    """
    if kind != "ascend":
        preload(kind)
    folder = Path(onnxruntime.__file__).parent / "capi"
    for name in ("shared", "cann" if kind == "ascend" else kind):
        path = folder / f"libonnxruntime_providers_{name}.so"
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
