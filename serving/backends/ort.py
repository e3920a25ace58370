"""ONNX Runtime: ONNX files on CPU and, with onnxruntime-gpu, on CUDA."""

from pathlib import Path

import numpy as np
import onnxruntime

from export.contract.manifest import Manifest, ModelFile, Precision, Tensor
from export.contract.stamp import check_stamp
from export.contract.transform import Pixels
from serving.backends import Backend, Device, Placement, Probabilities
from serving.backends.machine import PROVIDERS, missing
from serving.errors import StartupError
from serving.runtime import RuntimeSettings

TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}
ERRORS_ONLY = 3


class OrtBackend:
    """An ONNX Runtime session; several may share one, as `InferenceSession.run` allows."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        manifest: Manifest,
        device: Device,
        precision: Precision,
    ) -> None:
        self._session = session
        self._input, self._output = manifest.input.name, manifest.output.name
        self._shape = (manifest.transform.crop.height, manifest.transform.crop.width, 3)
        self._placement = Placement("onnxruntime", str(device), precision)

    def allocate(self, bucket: int) -> Pixels:
        """Return a uint8 buffer (bucket, height, width, 3)."""
        return np.zeros((bucket, *self._shape), np.uint8)

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        """Return float32 probabilities (images, classes)."""
        probabilities: Probabilities = self._session.run([self._output], {self._input: buffer})[0]
        return probabilities[:images]

    def describe(self) -> Placement:
        """Return runtime, device and precision; `open_session` compared them with the session."""
        return self._placement

    def close(self) -> None:
        """Drop this backend's hold on the session; the last one frees it."""
        del self._session


def open_backends(
    root: Path,
    manifest: Manifest,
    file: ModelFile,
    device: Device,
    instances: int,
    settings: RuntimeSettings,
) -> list[Backend]:
    """Open backends of a file of the bundle at `root`; raise as `serving.backends.load` does.

    On a CPU instances of one thread share a session, and with it the weights.
    """
    # Runs of one session share its threads: two of them on two threads would use two, not four.
    shares = instances if device.kind == "cpu" and settings.threads == 1 else 1
    sessions = [
        open_session(root / file.path, manifest, device, settings)
        for _ in range(instances // shares)
    ]
    metadata = sessions[0].get_modelmeta().custom_metadata_map
    check_stamp(root / file.path, manifest, file, metadata)
    return [
        OrtBackend(session, manifest, device, file.precision)
        for session in sessions
        for _ in range(shares)
    ]


def open_session(
    path: Path, manifest: Manifest, device: Device, settings: RuntimeSettings
) -> onnxruntime.InferenceSession:
    """Open a session that runs on `device` and nowhere else; raise `StartupError`."""
    if reason := missing("onnxruntime", device):
        raise StartupError(f"device {device}: {reason}")
    provider = PROVIDERS[device.kind]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.log_severity_level = ERRORS_ONLY
    stated = {} if device.kind == "cpu" else {"device_id": device.ordinal}
    try:
        session = onnxruntime.InferenceSession(path, options, [(provider, stated)])
    except Exception as error:
        raise StartupError(f"{path}: ONNX Runtime cannot load it on {device}: {error}") from error
    _check_provider(session, provider, device)
    _check_tensor(path, session.get_inputs(), manifest.input)
    _check_tensor(path, session.get_outputs(), manifest.output)
    return session


def _check_provider(session: onnxruntime.InferenceSession, provider: str, device: Device) -> None:
    # A provider that cannot load its libraries is dropped with no more than a log line.
    if session.get_providers()[0] != provider:
        raise StartupError(
            f"device {device} was asked for, but ONNX Runtime uses {session.get_providers()}; "
            f"check the driver and the CUDA libraries that {provider} needs"
        )


def _check_tensor(path: Path, found: list[onnxruntime.NodeArg], stated: Tensor) -> None:
    if [(tensor.name, tensor.type) for tensor in found] != [(stated.name, TYPES[stated.dtype])]:
        held = ", ".join(f"{tensor.name}: {tensor.type}" for tensor in found)
        raise StartupError(
            f"{path}: the manifest states {stated.name}: {TYPES[stated.dtype]}, "
            f"but the graph has {held}"
        )
