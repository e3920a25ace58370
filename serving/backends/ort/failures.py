"""ONNX Runtime's errors in the words of the domain: out of memory, a lost device, a lost process.

Sources: the texts in the provider libraries of onnxruntime-gpu 1.31.1, whose macros for the calls
of CUDA, cuDNN, its frontend, cuBLAS, cuFFT and cuRAND all write "LIBRARY failure CODE: ...";
NVIDIA, "CUDA Runtime API", `cudaError_t`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from serving.backends.devices import Device
from serving.backends.ort.library import onnxruntime
from serving.errors import DeviceLostError, OutOfDeviceMemoryError, ProcessLostError

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
# Codes of `cudaErrorStreamCapture...`: a call that another thread's recording of a CUDA graph does
# not allow was refused, or spoiled that recording. The device goes on working.
CAPTURE = r"90[0-8]\b"
LOST = re.compile(
    rf"\b(CUDA|CUDNN|CUDNN_FE|CUBLAS|CUFFT|CURAND|CANN|ACL) (failure|error)\b(?! {CAPTURE})"
    r"|Failed to initialize CUDNN Frontend|TensorRT EP.*fail",
    re.IGNORECASE,
)


@contextmanager
def translated(device: str, images: int) -> Iterator[None]:
    """Turn ONNX Runtime's errors into `OutOfDeviceMemoryError` or `DeviceLostError` if they fit.

    A GPU that is lost is a `ProcessLostError`. After an error in a kernel every later call to CUDA
    returns that error, and "to continue using CUDA, the process must be terminated and relaunched"
    (`cudaErrorIllegalAddress` and others). The calls that free a session are among them, and ONNX
    Runtime makes some of those, for its CUDA graphs, in a destructor that throws. Not every error
    is of that kind, but which are cannot be told from the text: cuDNN and cuBLAS report the errors
    of kernels as their own.

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
            if Device.parse(device).kind in ("cuda", "tensorrt"):
                raise ProcessLostError(f"{device} is lost for this process: {error}") from error
            raise DeviceLostError(f"{device} failed and must be reopened: {error}") from error
        raise
