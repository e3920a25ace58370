"""ONNX Runtime on an NVIDIA GPU."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from images.transform import Pixels
from serving.backends.backend import Placement, Probabilities, Target
from serving.backends.ort.cuda import HostMemory
from serving.backends.ort.errors import translated
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.session import log_progress


class Bound(NamedTuple):
    """One bucket: the engine's buffer, its copy on the device, and the probabilities there."""

    buffer: Pixels
    pixels: onnxruntime.OrtValue
    probabilities: onnxruntime.OrtValue
    binding: onnxruntime.IOBinding
    options: onnxruntime.RunOptions


class BoundBackend:
    """A session on a GPU, and so a stream, with a thread of its own.

    A bucket has one buffer, and addresses on the device that never change: its CUDA graph, recorded
    at its first run, holds them (onnxruntime.ai, CUDA provider, "Using CUDA Graphs"). ONNX Runtime
    keeps graphs per thread (`PerThreadContext` of its CUDA provider): a thread other than the one
    that prepared a bucket would have to record its graph again.

    Args:
        session: has `enable_cuda_graph` if graphs are wanted.
        target: what the session was opened for.
        placement: what the session was found to use.
        memory: allocates the buffers.
        device: ONNX Runtime's name and number of the memory that the session computes in.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        target: Target,
        placement: Placement,
        memory: HostMemory,
        device: tuple[str, int],
    ) -> None:
        self._session, self._target, self._placement = session, target, placement
        self._memory, self._device = memory, device
        self._buckets: dict[int, Bound] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=placement.device)

    def allocate(self, bucket: int) -> Pixels:
        """Return the uint8 buffer (bucket, height, width, 3) of the bucket, the same every time."""
        if bucket not in self._buckets:
            self._buckets[bucket] = self._thread.submit(self._prepare, bucket).result()
        return self._buckets[bucket].buffer

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        """Return float32 probabilities (images, classes)."""
        bound = self._buckets[len(buffer)]
        return self._thread.submit(self._run, bound, buffer).result()[:images]

    def describe(self) -> Placement:
        """Return what the session was found to use."""
        return self._placement

    def trim(self) -> None:
        """Release nothing: the graphs hold addresses in the device's memory."""

    def widen(self, threads: int) -> None:
        """Return None: a batch has all of the device."""

    def close(self) -> None:
        """Free the session, its graphs and its buffers on the device."""
        self._thread.shutdown()
        self._buckets.clear()
        self._memory.close()
        del self._session

    def _prepare(self, bucket: int) -> Bound:
        with log_progress(f"{self._placement.device}: preparing batches of {bucket}"):
            bound = self._bind(bucket)
            self._run(bound, bound.buffer)
        return bound

    def _run(self, bound: Bound, buffer: Pixels) -> Probabilities:
        with translated(self._placement.device, len(buffer)):
            bound.pixels.update_inplace(buffer)
            self._session.run_with_iobinding(bound.binding, bound.options)
            # A copy: on a CPU, as in the tests, the next run would otherwise overwrite it.
            return np.array(bound.probabilities.numpy())

    def _bind(self, bucket: int) -> Bound:
        shape, manifest = (bucket, *self._target.image_shape), self._target.manifest
        empty = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        with translated(self._placement.device, bucket):
            pixels = empty(list(shape), np.uint8, *self._device)
            probabilities = empty([bucket, self._target.classes], np.float32, *self._device)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(manifest.input.name, pixels)
        binding.bind_ortvalue_output(manifest.output.name, probabilities)
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(bucket))
        return Bound(self._memory.allocate(shape), pixels, probabilities, binding, options)
