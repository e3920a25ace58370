"""ONNX Runtime with inputs and outputs at fixed places in a GPU's memory."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import onnxruntime

from bundle.manifest import Manifest
from images.transform import Pixels
from serving.backends.backend import Placement, Probabilities
from serving.backends.ort.errors import translated
from serving.backends.ort.progress import told


class HostMemory(Protocol):
    """Where the buffers that the engine fills come from."""

    def allocate(self, shape: tuple[int, ...]) -> Pixels:
        """Return zeroed memory of a shape."""

    def close(self) -> None:
        """Let go of it."""


class Bound(NamedTuple):
    """One bucket: the engine's buffer, its copy on the device, and the answer there."""

    buffer: Pixels
    pixels: onnxruntime.OrtValue
    probabilities: onnxruntime.OrtValue
    binding: onnxruntime.IOBinding
    options: onnxruntime.RunOptions


class BoundBackend:
    """A session of its own, so that it has a stream to itself, and a thread of its own.

    A bucket has one buffer, and addresses on the device that never change: its CUDA graph, recorded
    at its first run, holds them (onnxruntime.ai, CUDA provider, "Using CUDA Graphs"). ONNX Runtime
    keeps the graphs of each thread apart (`PerThreadContext` of its CUDA provider), so that another
    thread than the one that prepared a bucket would have to record it again.

    Args:
        session: with `enable_cuda_graph` where graphs are wanted.
        manifest: of the bundle.
        placement: what the session was found to use.
        memory: where the buffers come from.
        device: ONNX Runtime's name and number of the memory that the session computes in.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        manifest: Manifest,
        placement: Placement,
        memory: HostMemory,
        device: tuple[str, int],
    ) -> None:
        self._session, self._manifest, self._placement = session, manifest, placement
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

    def close(self) -> None:
        """Free the session, its graphs and its buffers on the device."""
        self._thread.shutdown()
        self._buckets.clear()
        self._memory.close()
        del self._session

    def _prepare(self, bucket: int) -> Bound:
        with told(f"{self._placement.device}: preparing batches of {bucket}"):
            bound = self._bind(bucket)
            self._run(bound, bound.buffer)
        return bound

    def _run(self, bound: Bound, buffer: Pixels) -> Probabilities:
        with translated(self._placement.device, len(buffer)):
            bound.pixels.update_inplace(buffer)
            self._session.run_with_iobinding(bound.binding, bound.options)
            # A copy: on a CPU, where this is tested, it would else be the memory of the next run.
            return np.array(bound.probabilities.numpy())

    def _bind(self, bucket: int) -> Bound:
        crop, classes = self._manifest.transform.crop, len(self._manifest.labels)
        shape = (bucket, crop.height, crop.width, 3)
        empty = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        with translated(self._placement.device, bucket):
            pixels = empty(list(shape), np.uint8, *self._device)
            probabilities = empty([bucket, classes], np.float32, *self._device)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._manifest.input.name, pixels)
        binding.bind_ortvalue_output(self._manifest.output.name, probabilities)
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(bucket))
        return Bound(self._memory.allocate(shape), pixels, probabilities, binding, options)
