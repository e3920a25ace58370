"""ONNX Runtime: ONNX files on CPU; with onnxruntime-gpu on NVIDIA GPUs, with -cann on Ascend."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from images.transform import Pixels
from serving.backends.backend import Backend, Placement, Probabilities, Target
from serving.backends.devices import Device
from serving.backends.ort.cuda import HostMemory, PinnedMemory, load_runtime
from serving.backends.ort.failures import translated
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.options import PROVIDERS
from serving.backends.ort.session import log_progress, open_session
from serving.backends.ort.shared import SharedModel, share_model


def open_backends(target: Target, instances: int) -> list[Backend]:
    """Open backends of an ONNX file; raise as `serving.backends.runtimes.load` does.

    On a CPU instances of one thread share a session, and with it the weights.
    """
    if target.device.kind == "cpu" and target.settings.threads == 1 and instances > 1:
        shared = share_model(target)
        session = shared.open(target, threads=1)
        return [_backend(session, target, shared) for _ in range(instances)]
    # Runs of a session share its threads: two runs at once with two threads use two, not four.
    return [_backend(open_session(target), target) for _ in range(instances)]


class OrtBackend:
    """An ONNX Runtime session; several may share one, as `InferenceSession.run` allows."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        target: Target,
        placement: Placement,
        shared: SharedModel | None = None,
    ) -> None:
        self._session, self._target, self._placement = session, target, placement
        self._input, self._output = target.manifest.input.name, target.manifest.output.name
        self._shared = shared  # what the session reads its weights from

    def allocate(self, bucket: int) -> Pixels:
        """Return a uint8 buffer (bucket, height, width, 3)."""
        return np.zeros((bucket, *self._target.image_shape), np.uint8)

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        """Return float32 probabilities (images, classes)."""
        with translated(self._placement.device, len(buffer)):
            [probabilities] = self._session.run([self._output], {self._input: buffer})
        answers: Probabilities = probabilities[:images]
        return answers

    def describe(self) -> Placement:
        """Return what the session was found to use."""
        return self._placement

    def trim(self) -> None:
        """Run the smallest bucket and shrink ONNX Runtime's arena to what that needs.

        The arena grows to what the largest batch needs, and shrinks only if a run requests it.
        """
        if self._placement.device == "cpu":
            options = onnxruntime.RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            smallest = self.allocate(self._target.buckets[0])
            self._session.run([self._output], {self._input: smallest}, options)

    def widen(self, threads: int) -> "OrtBackend | None":
        """Return a backend that runs on `threads` threads and reads the same weights.

        None if the weights are this backend's own.
        """
        if self._shared is None:
            return None
        session = self._shared.open(self._target, threads)
        return OrtBackend(session, self._target, self._placement, self._shared)

    def close(self) -> None:
        """Drop this backend's references to the session and the weights; the last ones free them.

        The session goes first.
        """
        del self._session
        self._shared = None


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


def _backend(
    session: onnxruntime.InferenceSession, target: Target, shared: SharedModel | None = None
) -> Backend:
    device = target.device
    used = session.get_provider_options()[PROVIDERS[device.kind]]
    found = Device(device.kind, int(used.get("device_id", 0)))
    placement = Placement("onnxruntime", str(found), target.file.precision)
    if device.kind not in ("cuda", "tensorrt"):
        return OrtBackend(session, target, placement, shared)
    # The same CUDA runtime that ONNX Runtime was built with and has loaded.
    memory = PinnedMemory(load_runtime(onnxruntime.cuda_version))
    return BoundBackend(session, target, placement, memory, ("cuda", device.ordinal))
