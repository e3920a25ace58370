"""What MindSpore needs to run on an NVIDIA GPU, loaded before it is imported, or named.

The wheel of MindSpore 2.10 has plugins for GPUs that are linked with CUDA 11 and cuDNN 8, and
brings neither. It tries them only if CUDA_HOME leads to an nvcc of CUDA 11, and loads them only if
the libraries are in LD_LIBRARY_PATH or in /usr/local/cuda/lib64. Otherwise it says that there is no
GPU.

The extra `training-gpu` brings the libraries as packages, in which the system does not look; but a
library that is loaded already is not looked for. In place of nvcc, which no package has, stands
`cuda_home/bin/nvcc`. Sources: `readelf -d` of libmindspore_gpu.so.11.6, `DeviceContextManager` in
libmindspore_hardware_abstract.so, the device code in libcuda_ops.so.11.
"""

import ctypes
import logging
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from cli.gpus import CudaError, count_gpus, driver_cuda, gpu_capability, gpu_name
from training.errors import DeviceError

logger = logging.getLogger(__name__)

CUDA_HOME = Path(__file__).with_name("cuda_home").resolve()
SYSTEM_CUDA = Path("/usr/local/cuda/lib64")
# Compute capabilities: the wheel has machine code for 6.0, 6.1, 7.0, 7.5 and 8.0, which runs on
# later ones of the same major number too, and code for the driver to compile of 6.0 and 8.6.
OLDEST, NEWEST = (6, 0), (8, 9)
OLDEST_CUDA = (11, 0)  # that a driver must offer
# The most that the driver keeps of what it has compiled: its default is too small for the wheel's.
CACHE_BYTES = 4 << 30


class Library(NamedTuple):
    """A shared library, the package that has it, and its folder there."""

    name: str
    package: str
    folder: str


# Each after those that it needs.
LIBRARIES = (
    Library("libcudart.so.11.0", "nvidia-cuda-runtime-cu11", "cuda_runtime"),
    Library("libnvrtc.so.11.2", "nvidia-cuda-nvrtc-cu11", "cuda_nvrtc"),
    Library("libcublasLt.so.11", "nvidia-cublas-cu11", "cublas"),
    Library("libcublas.so.11", "nvidia-cublas-cu11", "cublas"),
    Library("libcudnn.so.8", "nvidia-cudnn-cu11==8.9.6.50", "cudnn"),
    Library("libcufft.so.10", "nvidia-cufft-cu11", "cufft"),
    Library("libcurand.so.10", "nvidia-curand-cu11", "curand"),
    Library("libcusparse.so.11", "nvidia-cusparse-cu11", "cusparse"),
    Library("libcusolver.so.11", "nvidia-cusolver-cu11", "cusolver"),
)


def prepare(index: int) -> None:
    """Load the libraries for GPU `index`; raise DeviceError with all that this machine lacks.

    Call it before mindspore is imported, which looks for its plugins then. A GPU for which the
    driver has to compile MindSpore's kernels costs a warning.
    """
    os.environ.setdefault("CUDA_CACHE_MAXSIZE", str(CACHE_BYTES))  # the driver reads it in cuInit
    # Also where it is set: a machine may have CUDA 12 or 13 there, for which there is no plugin.
    os.environ["CUDA_HOME"] = str(CUDA_HOME)
    lacks = [reason for reason in (_missing_gpu(index), _missing_libraries()) if reason]
    if lacks:
        raise DeviceError(f"the platform GPU: {'; '.join(lacks)}")


def _missing_libraries() -> str | None:
    missing = [f"{library.name} ({library.package})" for library in LIBRARIES if not _load(library)]
    if not missing:
        return None
    return (
        f"MindSpore needs {', '.join(missing)}, which cannot be loaded: `make train PLATFORM=GPU` "
        f"installs them (extra training-gpu), or name their folders in LD_LIBRARY_PATH"
    )


def _load(library: Library) -> bool:
    for path in _places(library):
        try:
            ctypes.CDLL(str(path))
        except OSError:
            continue
        if path.is_absolute():
            _show(path.parent)
        return True
    return False


def _places(library: Library) -> Iterator[Path]:
    """Yield where a library may be: its package, where the system looks, the folder of CUDA."""
    if packages := find_spec("nvidia"):
        for folder in packages.submodule_search_locations or ():
            yield Path(folder, library.folder, "lib", library.name)
    yield Path(library.name)
    yield SYSTEM_CUDA / library.name


def _show(folder: Path) -> None:
    """Let `ldd` find a folder's libraries: MindSpore asks it, and warns of those that it misses."""
    known = [place for place in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if place]
    if str(folder) not in known:
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join([str(folder), *known])


def _missing_gpu(index: int) -> str | None:
    try:
        return _unusable(index)
    except CudaError as error:
        return str(error)


def _unusable(index: int) -> str | None:
    if (offered := driver_cuda()) < OLDEST_CUDA:
        return "the NVIDIA driver is older than 450: it offers CUDA {}.{}, not 11".format(*offered)
    if index >= (gpus := count_gpus()):
        return f"no GPU {index}: the driver shows {gpus}, counted from 0"
    capability = gpu_capability(index)
    card = "{} (compute capability {}.{})".format(gpu_name(index), *capability)
    if capability < OLDEST:
        return f"{card} is too old: MindSpore's wheel has code for GPUs from 6.0 on"
    if capability > NEWEST:
        logger.warning(
            "%s: MindSpore's wheel has machine code for GPUs from 6.0 to 8.9; the driver compiles "
            "it for this one at the first run, which takes minutes",
            card,
        )
    return None
