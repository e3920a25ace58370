"""ONNX Runtime: ONNX files on CPU; with onnxruntime-gpu on NVIDIA GPUs, with -cann on Ascend."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from bundle.manifest import Manifest, ModelFile
from images.transform import Pixels
from serving.backends.backend import Backend, Placement, Probabilities
from serving.backends.devices import Device
from serving.backends.ort.errors import translated
from serving.backends.ort.gpu import BoundBackend
from serving.backends.ort.options import PROVIDERS
from serving.backends.ort.pinned import PinnedMemory
from serving.backends.ort.session import open_session
from serving.backends.settings import RuntimeSettings


class OrtBackend:
    """An ONNX Runtime session; several may share one, as `InferenceSession.run` allows."""

    def __init__(
        self, session: onnxruntime.InferenceSession, manifest: Manifest, placement: Placement
    ) -> None:
        self._session, self._placement = session, placement
        self._input, self._output = manifest.input.name, manifest.output.name
        self._shape = (manifest.transform.crop.height, manifest.transform.crop.width, 3)

    def allocate(self, bucket: int) -> Pixels:
        """Return a uint8 buffer (bucket, height, width, 3)."""
        return np.zeros((bucket, *self._shape), np.uint8)

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        """Return float32 probabilities (images, classes)."""
        with translated(self._placement.device, len(buffer)):
            [probabilities] = self._session.run([self._output], {self._input: buffer})
        answered: Probabilities = probabilities[:images]
        return answered

    def describe(self) -> Placement:
        """Return what the session was found to use."""
        return self._placement

    def close(self) -> None:
        """Drop this backend's hold on the session; the last one frees it."""
        del self._session


def open_backends(
    root: Path,
    manifest: Manifest,
    file: ModelFile,
    *,
    device: Device,
    instances: int,
    buckets: Sequence[int],
    settings: RuntimeSettings,
) -> list[Backend]:
    """Open backends of a file of the bundle at `root`; raise as `serving.backends.load` does.

    On a CPU instances of one thread share a session, and with it the weights.
    """
    # Runs of one session share its threads: two of them on two threads would use two, not four.
    shares = instances if device.kind == "cpu" and settings.threads == 1 else 1
    sessions = [
        open_session(root, manifest, file, device, buckets, settings)
        for _ in range(instances // shares)
    ]
    return [_backend(s, manifest, file, device) for s in sessions for _ in range(shares)]


def _backend(
    session: onnxruntime.InferenceSession, manifest: Manifest, file: ModelFile, device: Device
) -> Backend:
    used = session.get_provider_options()[PROVIDERS[device.kind]]
    found = Device(device.kind, int(used.get("device_id", 0)))
    placement = Placement("onnxruntime", str(found), file.precision)
    if device.kind not in ("cuda", "tensorrt"):
        return OrtBackend(session, manifest, placement)
    memory = PinnedMemory(ctypes.CDLL(_cudart()))
    return BoundBackend(session, manifest, placement, memory, ("cuda", device.ordinal))


def _cudart() -> str:
    """Name the CUDA runtime that ONNX Runtime was built with and has loaded."""
    return f"libcudart.so.{onnxruntime.cuda_version.partition('.')[0]}"
