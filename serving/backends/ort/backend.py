"""ONNX Runtime: ONNX files on CPU; with onnxruntime-gpu on NVIDIA GPUs, with -cann on Ascend."""

from functools import partial

import numpy as np

from images.transform import Pixels
from serving.backends.backend import Backend, Placement, Probabilities, Target
from serving.backends.devices import Device
from serving.backends.ort.bound import BoundBackend, Opened
from serving.backends.ort.cuda import PinnedMemory, load_runtime
from serving.backends.ort.failures import translated
from serving.backends.ort.gpu_lock import GpuLock, gpu_lock
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.options import PROVIDERS
from serving.backends.ort.session import open_session
from serving.backends.ort.shared import SharedModel, seal_model


def open_backends(target: Target, instances: int) -> list[Backend]:
    """Open backends of an ONNX file; raise as `serving.backends.runtimes.load` does.

    On a CPU instances share the weights, and those of one thread a session.
    """
    if target.device.kind in ("cuda", "tensorrt"):
        return [_open_on_gpu(target) for _ in range(instances)]
    if target.device.kind != "cpu":
        return [_backend(open_session(target), target) for _ in range(instances)]
    shared = SharedModel(target.sealed or seal_model(target))
    if target.settings.threads == 1:
        session = shared.open(target)
        return [_backend(session, target, shared) for _ in range(instances)]
    # Runs of a session share its threads: two runs at once with two threads use two, not four.
    return [_backend(shared.open(target), target, shared) for _ in range(instances)]


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

        None if the weights are this backend's own, as they are on other devices than a CPU.
        """
        if self._shared is None:
            return None
        session = self._shared.open_wide(self._target, threads)
        return OrtBackend(session, self._target, self._placement, self._shared)

    def close(self) -> None:
        """Drop this backend's references to the session and the weights; the last ones free them.

        The session goes first.
        """
        del self._session
        self._shared = None


def _backend(
    session: onnxruntime.InferenceSession, target: Target, shared: SharedModel | None = None
) -> Backend:
    return OrtBackend(session, target, _placement(session, target), shared)


def _open_on_gpu(target: Target) -> Backend:
    ordinal = target.device.ordinal
    # TensorRT's instances record nothing, and need not wait for each other.
    lock = gpu_lock(ordinal) if target.device.kind == "cuda" else GpuLock()
    return BoundBackend(partial(_open_pinned, target), target, ("cuda", ordinal), lock)


def _open_pinned(target: Target) -> Opened:
    session = open_session(target)
    # The same CUDA runtime that ONNX Runtime was built with and has loaded.
    memory = PinnedMemory(load_runtime(onnxruntime.cuda_version), target.device.ordinal)
    return Opened(session, _placement(session, target), memory)


def _placement(session: onnxruntime.InferenceSession, target: Target) -> Placement:
    kind = target.device.kind
    used = session.get_provider_options()[PROVIDERS[kind]]
    found = Device(kind, int(used.get("device_id", 0)))
    return Placement("onnxruntime", str(found), target.file.precision)
