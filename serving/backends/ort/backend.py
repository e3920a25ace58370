"""ONNX Runtime: ONNX files on CPU; with onnxruntime-gpu on NVIDIA GPUs, with -cann on Ascend."""

import numpy as np
import onnxruntime

from images.transform import Pixels
from serving.backends.backend import Backend, Placement, Probabilities, Target
from serving.backends.devices import Device
from serving.backends.ort.cuda import PinnedMemory, load_runtime
from serving.backends.ort.errors import translated
from serving.backends.ort.gpu import BoundBackend
from serving.backends.ort.options import PROVIDERS
from serving.backends.ort.session import open_session


class OrtBackend:
    """An ONNX Runtime session; several may share one, as `InferenceSession.run` allows."""

    def __init__(
        self, session: onnxruntime.InferenceSession, target: Target, placement: Placement
    ) -> None:
        self._session, self._placement = session, placement
        self._input, self._output = target.manifest.input.name, target.manifest.output.name
        self._shape = target.image_shape

    def allocate(self, bucket: int) -> Pixels:
        """Return a uint8 buffer (bucket, height, width, 3)."""
        return np.zeros((bucket, *self._shape), np.uint8)

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
        """Run one image, after which ONNX Runtime's arena returns to what that needs.

        The arena grows to what the largest batch needs and never shrinks unless a run asks for it.
        """
        if self._placement.device == "cpu":
            options = onnxruntime.RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            self._session.run([self._output], {self._input: self.allocate(1)}, options)

    def close(self) -> None:
        """Drop this backend's reference to the session; the last one frees it."""
        del self._session


def open_backends(target: Target, instances: int) -> list[Backend]:
    """Open backends of an ONNX file; raise as `serving.backends.opening.load` does.

    On a CPU instances of one thread share a session, and with it the weights.
    """
    # Runs of one session share its threads: two of them on two threads would use two, not four.
    shares = instances if target.device.kind == "cpu" and target.settings.threads == 1 else 1
    sessions = [open_session(target) for _ in range(instances // shares)]
    return [_backend(session, target) for session in sessions for _ in range(shares)]


def _backend(session: onnxruntime.InferenceSession, target: Target) -> Backend:
    device = target.device
    used = session.get_provider_options()[PROVIDERS[device.kind]]
    found = Device(device.kind, int(used.get("device_id", 0)))
    placement = Placement("onnxruntime", str(found), target.file.precision)
    if device.kind not in ("cuda", "tensorrt"):
        return OrtBackend(session, target, placement)
    # The CUDA runtime that ONNX Runtime was built with and has loaded.
    memory = PinnedMemory(load_runtime(onnxruntime.cuda_version))
    return BoundBackend(session, target, placement, memory, ("cuda", device.ordinal))
