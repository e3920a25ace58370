"""Runtimes behind one small Protocol; each runtime's package is imported in its module alone."""

import bisect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from export.contract.manifest import Manifest, ModelFile, Precision
from export.contract.transform import Pixels
from serving.backends.devices import Device as Device
from serving.backends.devices import parse_devices as parse_devices
from serving.errors import StartupError
from serving.runtime import DEFAULTS
from serving.runtime import RuntimeSettings as RuntimeSettings

Probabilities = NDArray[np.float32]


class Placement(NamedTuple):
    """Where and how a model runs, as its runtime reports it."""

    runtime: str
    device: str
    precision: Precision


class Backend(Protocol):
    """One instance of a model on one device; one thread at a time uses it."""

    def allocate(self, bucket: int) -> Pixels:
        """Return a uint8 buffer (bucket, height, width, 3) in the memory that `run` wants.

        It may be the same one every time.
        """

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        """Run all of `buffer`; return float32 (images, classes) for its first `images` rows."""

    def describe(self) -> Placement:
        """Return what is in use, not what was asked for."""

    def close(self) -> None:
        """Free the device's memory; nothing may be run afterwards."""


def placement(backends: Sequence[Backend]) -> Placement:
    """Return where and how the instances of one model run, their devices joined by commas."""
    places = [backend.describe() for backend in backends]
    return places[0]._replace(device=",".join(dict.fromkeys(place.device for place in places)))


class Instance(NamedTuple):
    """A backend, and the way to a new one in its place, proven in these batch sizes."""

    backend: Backend
    reopen: Callable[[Sequence[int]], Backend]


def load(
    root: Path,
    manifest: Manifest,
    file: ModelFile,
    *,
    device: Device,
    instances: int = 1,
    buckets: Sequence[int] | None = None,
    settings: RuntimeSettings = DEFAULTS,
) -> list[Backend]:
    """Load a model file of the bundle at `root` in the runtime of its format.

    Args:
        root: the bundle's directory.
        manifest: its manifest.
        file: one of the manifest's files.
        device: where to run.
        instances: how many backends to return.
        buckets: the batch sizes that will run, rising; None for those of the file.
        settings: of the runtimes.

    Raises:
        StartupError: it cannot be loaded there.
        BundleError: it is not the file that the manifest states.
    """
    if settings.device_memory_mib and (device.kind in ("cpu", "tensorrt") or file.format != "onnx"):
        raise StartupError(
            f"--device-memory-mib bounds ONNX Runtime's own memory, on cuda and ascend; "
            f"it does not for {file.format} files on {device}"
        )
    if file.format == "onnx":
        from serving.backends import ort

        return ort.open_backends(
            root,
            manifest,
            file,
            device=device,
            instances=instances,
            buckets=list(buckets or file.buckets),
            settings=settings,
        )
    if file.format == "mindir-lite":
        from serving.backends import lite

        return lite.open_backends(
            root,
            manifest,
            file,
            device=device,
            instances=instances,
            threads=settings.threads,
            buckets=list(buckets or file.buckets),
            python=settings.lite_python,
            batch_timeout_s=settings.batch_timeout_s,
        )
    raise StartupError(f"{file.path}: no runtime here serves {file.format} files")


def predict(backend: Backend, buckets: Sequence[int], pixels: Pixels) -> Probabilities:
    """Return float32 (n, classes) for uint8 (n, height, width, 3), in batches of bucket size."""
    rows = []
    for start in range(0, len(pixels), buckets[-1]):
        chunk = pixels[start : start + buckets[-1]]
        buffer = backend.allocate(fit(buckets, len(chunk)))
        buffer[: len(chunk)] = chunk
        rows.append(backend.run(buffer, len(chunk)))
    return np.concatenate(rows)


def fit(buckets: Sequence[int], images: int) -> int:
    """Return the smallest of the rising `buckets` that holds `images`."""
    return buckets[bisect.bisect_left(buckets, images)]
