"""Runtimes behind one small Protocol; each runtime's package is imported in its module alone."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from export.contract.manifest import Format, Manifest, ModelFile, Precision
from export.contract.stamp import check_stamp
from export.contract.transform import Pixels
from serving.errors import StartupError

Probabilities = NDArray[np.float32]


class Placement(NamedTuple):
    """Where and how a model runs, as its runtime reports it."""

    runtime: str
    device: str
    precision: Precision


class Backend(Protocol):
    """One instance of a model on one device; one thread at a time uses it."""

    def allocate(self, bucket: int) -> Pixels:
        """Return a uint8 buffer (bucket, height, width, 3) in the memory that `run` wants."""

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        """Run all of `buffer`; return float32 (images, classes) for its first `images` rows."""

    def describe(self) -> Placement:
        """Return what is in use, not what was asked for."""

    def close(self) -> None:
        """Free the device's memory; nothing may be run afterwards."""


class Device(NamedTuple):
    """A device as the operator names it: `cpu`, `cuda`, `cuda:1`."""

    kind: Literal["cpu", "cuda"]
    ordinal: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.ordinal}"

    @classmethod
    def parse(cls, text: str) -> "Device":
        """Return the device named by `text`; raise `StartupError`."""
        if text == "cpu":
            return cls("cpu")
        if match := re.fullmatch(r"cuda(?::(\d+))?", text):
            return cls("cuda", int(match[1] or 0))
        raise StartupError(f"no runtime for device {text!r}; there are: cpu, cuda, cuda:<index>")


def choose_file(manifest: Manifest, device: Device, precision: Precision | None) -> ModelFile:
    """Return the model file to run; without a precision the best that the device runs exactly.

    That is fp32 on a CPU, and on a GPU fp16 where the bundle holds it. Raises `StartupError`.
    """
    held: dict[tuple[Format, Precision], ModelFile] = {
        (file.format, file.precision): file for file in manifest.files
    }
    usual: tuple[Precision, ...] = ("fp32",) if device.kind == "cpu" else ("fp16", "fp32")
    for wanted in (precision,) if precision else usual:
        if file := held.get(("onnx", wanted)):
            return file
    raise StartupError(
        f"{manifest.name}/{manifest.version} holds no ONNX file in {precision or usual[-1]}; "
        f"it holds: {', '.join(' '.join(kind) for kind in sorted(held))}"
    )


def load(
    root: Path,
    manifest: Manifest,
    file: ModelFile,
    *,
    device: Device,
    instances: int = 1,
    threads: int = 1,
) -> list[Backend]:
    """Load a model file of the bundle at `root`.

    Args:
        root: the bundle's directory.
        manifest: its manifest.
        file: one of the manifest's files.
        device: where to run.
        instances: how many backends to return; they share the weights, but for CPU threads > 1.
        threads: CPU threads that one run may use.

    Raises:
        StartupError: it cannot be loaded there.
        BundleError: it is not the file that the manifest states.
    """
    from serving.backends import ort

    # Runs of one session share its threads: two of them on two threads would use two, not four.
    shares = 1 if device.kind == "cpu" and threads > 1 else instances
    sessions = [
        ort.open_session(root / file.path, manifest, device, threads)
        for _ in range(instances // shares)
    ]
    metadata = sessions[0].get_modelmeta().custom_metadata_map
    check_stamp(root / file.path, manifest, file, metadata)
    return [
        ort.OrtBackend(session, manifest, device, file.precision)
        for session in sessions
        for _ in range(shares)
    ]


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
    return next(bucket for bucket in buckets if bucket >= images)
