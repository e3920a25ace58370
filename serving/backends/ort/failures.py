"""What ONNX Runtime's errors mean: too little memory, a lost device, or neither."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from serving.backends.ort.library import onnxruntime
from serving.errors import DeviceLostError, OutOfDeviceMemoryError

ort = onnxruntime.capi.onnxruntime_pybind11_state
EXCEPTIONS = (
    *(ort.Fail, ort.RuntimeException, ort.EPFail, ort.EngineError, ort.DeviceReset),
    # OrtValue raises these instead.
    *(RuntimeError, MemoryError),
)
# Messages of ONNX Runtime's arena, of CUDA and its libraries, and CANN's error 207001,
# ACL_ERROR_RT_MEMORY_ALLOCATION.
MEMORY = re.compile(
    r"failed to allocate memory|is smaller than requested bytes|out of memory|bad allocation"
    r"|std::bad_alloc|_STATUS_ALLOC_FAILED|\b207001\b",
    re.IGNORECASE,
)
# Messages after which the device is lost: a CUDA error may destroy the context of the process.
LOST = re.compile(
    r"\b(CUDA|CUDNN|CUBLAS|CANN|ACL) (failure|error)\b|TensorRT EP.*fail", re.IGNORECASE
)


@contextmanager
def translated(device: str, images: int) -> Iterator[None]:
    """Turn ONNX Runtime's errors into `OutOfDeviceMemoryError` or `DeviceLostError` if they fit.

    Args:
        device: name of the device that runs the batch.
        images: size of the batch.
    """
    try:
        yield
    except EXCEPTIONS as error:
        if isinstance(error, MemoryError) or MEMORY.search(str(error)):
            raise OutOfDeviceMemoryError(
                f"{device}: a batch of {images} does not fit into its memory: {error}"
            ) from error
        if isinstance(error, ort.DeviceReset) or LOST.search(str(error)):
            raise DeviceLostError(f"{device} failed and must be reopened: {error}") from error
        raise
