"""OpenVINO: ONNX files on CPU, in fp32, bf16 and int8."""

import re
from typing import NamedTuple

import numpy as np

from images.transform import Pixels
from serving.backends.backend import Backend, Placement, Probabilities, Target
from serving.backends.openvino.library import openvino
from serving.backends.openvino.model import compile_model
from serving.errors import DeviceLostError, OutOfDeviceMemoryError

# On two cores EfficientNet-Lite0 in bf16, 18 MB, answers 11 to 17 % more images per second if each
# instance has a compiled model of its own; ResNeXt152 in int8, 118 MB, no more.
SHARED_FROM_BYTES = 64 << 20
# Messages of C++, of OpenVINO, and of oneDNN, in which it computes.
MEMORY = re.compile(r"bad_alloc|out of memory|failed to allocate|bad allocation", re.IGNORECASE)


def open_backends(target: Target, instances: int) -> list[Backend]:
    """Open backends of an ONNX file; raise as `serving.backends.runtimes.load` does.

    Instances of a large model share a compiled one, and with it the weights.
    """
    shares = instances if target.path.stat().st_size >= SHARED_FROM_BYTES else 1
    models = [Model(compile_model(target, shares), target) for _ in range(instances // shares)]
    return [OpenVinoBackend(model) for model in models for _ in range(shares)]


class Request(NamedTuple):
    """One bucket: the engine's buffer, where the probabilities arrive, and the request for both."""

    buffer: Pixels
    answers: Probabilities
    infer: openvino.InferRequest


class Model:
    """A compiled model, and whether it is still good.

    `failure` says how its memory ran out, if it did. From then on OpenVINO 2026.4 fails for batches
    of every size, in any instance: a stream that ran out of memory stays broken, and who takes a
    batch to which stream is OpenVINO's affair.
    """

    def __init__(self, compiled: openvino.CompiledModel, target: Target) -> None:
        self.compiled, self.target = compiled, target
        self.placement = Placement("openvino", str(target.device), target.file.precision)
        self.failure: str | None = None

    def bind(self, bucket: int) -> Request:
        """Return a request for batches of one size, with memory of its own."""
        buffer: Pixels = np.zeros((bucket, *self.target.image_shape), np.uint8)
        answers = np.zeros((bucket, self.target.classes), np.float32)
        request = self.compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(buffer, shared_memory=True))
        request.set_output_tensor(openvino.Tensor(answers, shared_memory=True))
        return Request(buffer, answers, request)

    def run(self, request: Request) -> None:
        """Run a batch.

        Raises:
            OutOfDeviceMemoryError: it does not fit into memory.
            DeviceLostError: one before it did not.
        """
        if self.failure:
            raise DeviceLostError(f"the model must be reopened: {self.failure}")
        try:
            # Not `infer`: it does not report what fails on OpenVINO's own threads (2026.4.1), and
            # the answers to the batch before would pass for those to this one.
            request.infer.start_async()
            request.infer.wait()
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and not MEMORY.search(str(error)):
                raise
            self.failure = (
                f"{self.placement.device}: a batch of {len(request.buffer)} does not fit into its "
                f"memory: {_last_line(error)}"
            )
            raise OutOfDeviceMemoryError(self.failure) from error


class OpenVinoBackend:
    """One of the instances that share a model, with a request of its own per bucket.

    A request reads the engine's buffer where it lies. It keeps the shape that it was bound with:
    one for all buckets would have to be bound again for every batch.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._requests: dict[int, Request] = {}

    def allocate(self, bucket: int) -> Pixels:
        """Return the uint8 buffer (bucket, height, width, 3) of the bucket, the same every time."""
        if bucket not in self._requests:
            self._requests[bucket] = self._model.bind(bucket)
        return self._requests[bucket].buffer

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        """Return float32 probabilities (images, classes); raise what `Model.run` raises."""
        request = self._requests[len(buffer)]
        if buffer is not request.buffer:
            request.buffer[:] = buffer
        self._model.run(request)
        # A copy, because the next batch overwrites the answers.
        return request.answers[:images].copy()

    def describe(self) -> Placement:
        """Return what the model was found to use."""
        return self._model.placement

    def trim(self) -> None:
        """Release what the layers passed to each other in the largest batch; weights stay."""
        self._model.compiled.release_memory()

    def widen(self, threads: int) -> "OpenVinoBackend":
        """Return a backend that runs on `threads` threads, over weights of its own.

        Compiled models share none, even of one model.
        """
        settings = self._model.target.settings._replace(threads=threads)
        target = self._model.target._replace(settings=settings)
        return OpenVinoBackend(Model(compile_model(target, 1), target))

    def close(self) -> None:
        """Drop this backend's reference to the model; the last one frees it."""
        self._requests.clear()
        del self._model


def _last_line(error: Exception) -> str:
    """Return what happened: the lines before it say where in OpenVINO's source."""
    return str(error).strip().rpartition("\n")[2] or type(error).__name__
