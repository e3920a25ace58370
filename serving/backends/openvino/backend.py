"""OpenVINO: ONNX files on CPU, in fp32, bf16 and int8."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from images.transform import Pixels
from serving.backends.backend import Backend, Placement, Probabilities, Target
from serving.backends.openvino.library import openvino
from serving.backends.openvino.model import compile_model
from serving.errors import OutOfDeviceMemoryError

# Messages of C++, of OpenVINO, and of oneDNN, in which it computes.
MEMORY = re.compile(r"bad_alloc|out of memory|failed to allocate|bad allocation", re.IGNORECASE)


def open_backends(target: Target, instances: int) -> list[Backend]:
    """Open backends of an ONNX file; raise as `serving.backends.runtimes.load` does.

    They share a compiled model, and with it the weights.
    """
    compiled = compile_model(target, instances)
    return [OpenVinoBackend(compiled, target) for _ in range(instances)]


class Request(NamedTuple):
    """One bucket: the engine's buffer, where the probabilities arrive, and the request for both."""

    buffer: Pixels
    answers: Probabilities
    infer: openvino.InferRequest


class OpenVinoBackend:
    """One of the instances that share a compiled model, with a request of its own per bucket.

    A request reads the engine's buffer where it lies. It keeps the shape that it was bound with:
    one for all buckets would have to be bound again for every batch.
    """

    def __init__(self, compiled: openvino.CompiledModel, target: Target) -> None:
        self._compiled, self._target = compiled, target
        self._placement = Placement("openvino", str(target.device), target.file.precision)
        self._requests: dict[int, Request] = {}

    def allocate(self, bucket: int) -> Pixels:
        """Return the uint8 buffer (bucket, height, width, 3) of the bucket, the same every time."""
        if bucket not in self._requests:
            self._requests[bucket] = self._bind(bucket)
        return self._requests[bucket].buffer

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        """Return float32 probabilities (images, classes)."""
        request = self._requests[len(buffer)]
        if buffer is not request.buffer:
            request.buffer[:] = buffer
        with translated(self._placement.device, len(buffer)):
            request.infer.infer(share_outputs=True)
        # A copy, because the next batch overwrites the answers.
        return request.answers[:images].copy()

    def describe(self) -> Placement:
        """Return what the model was found to use."""
        return self._placement

    def trim(self) -> None:
        """Release what the layers passed to each other in the largest batch; weights stay."""
        self._compiled.release_memory()

    def widen(self, threads: int) -> "OpenVinoBackend":
        """Return a backend that runs on `threads` threads, over weights of its own.

        Compiled models share none, even of one model.
        """
        settings = self._target.settings._replace(threads=threads)
        target = self._target._replace(settings=settings)
        return OpenVinoBackend(compile_model(target, 1), target)

    def close(self) -> None:
        """Drop this backend's reference to the model; the last one frees it."""
        self._requests.clear()
        del self._compiled

    def _bind(self, bucket: int) -> Request:
        buffer: Pixels = np.zeros((bucket, *self._target.image_shape), np.uint8)
        answers = np.zeros((bucket, self._target.classes), np.float32)
        request = self._compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(buffer, shared_memory=True))
        request.set_output_tensor(openvino.Tensor(answers, shared_memory=True))
        return Request(buffer, answers, request)


@contextmanager
def translated(device: str, images: int) -> Iterator[None]:
    """Turn OpenVINO's errors into `OutOfDeviceMemoryError` if they fit.

    Args:
        device: name of the device that runs the batch.
        images: size of the batch.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or MEMORY.search(str(error)):
            raise OutOfDeviceMemoryError(
                f"{device}: a batch of {images} does not fit into its memory: {error}"
            ) from error
        raise
