"""The interface between engine and runtimes: what a runtime opens, and what it returns."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Manifest, ModelFile, Precision
from images.transform import Pixels
from serving.backends.devices import Device
from serving.backends.sealed import SealedModel
from serving.backends.settings import RuntimeSettings

Probabilities = NDArray[np.float32]


class Target(NamedTuple):
    """A model file of the bundle at `root`, and the device and batch sizes to open it for.

    `sealed` is what the runtime has made of it before, if it has.
    """

    root: Path
    manifest: Manifest
    file: ModelFile
    device: Device
    buckets: Sequence[int]
    settings: RuntimeSettings
    sealed: SealedModel | None = None

    @property
    def path(self) -> Path:
        """Path of the model file."""
        return self.root / self.file.path

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the network's input."""
        crop = self.manifest.transform.crop
        return crop.height, crop.width, 3

    @property
    def classes(self) -> int:
        """Number of probabilities per image."""
        return len(self.manifest.labels)


class Placement(NamedTuple):
    """The runtime, device and precision that a model runs with, as its runtime reports them."""

    runtime: str
    device: str
    precision: Precision


class Backend(Protocol):
    """One instance of a model on one device; used by one thread at a time."""

    def allocate(self, bucket: int) -> Pixels:
        """Return a uint8 buffer (bucket, height, width, 3) in the memory that `run` reads fastest.

        The bucket is one of the target's. Calls for one bucket may return the same buffer; buckets
        share no memory.
        """

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        """Run the whole `buffer`; return float32 (images, classes) for its first `images` rows."""

    def describe(self) -> Placement:
        """Return what is in use, which may differ from the settings."""

    def trim(self) -> None:
        """Release host memory that only large batches need; they allocate it again."""

    def widen(self, threads: int) -> "Backend | None":
        """Return a backend that runs the same file in a batch on `threads` CPU threads.

        None if the runtime offers none. Either may be closed first.
        """

    def close(self) -> None:
        """Free the device's memory; `run` must not be called afterwards."""


def placement(backends: Sequence[Backend]) -> Placement:
    """Return the placement that the instances of one model share, devices joined by commas."""
    places = [backend.describe() for backend in backends]
    return places[0]._replace(device=",".join(dict.fromkeys(place.device for place in places)))


class Instance(NamedTuple):
    """A backend, and the function that opens another in its place, proved in given buckets."""

    backend: Backend
    reopen: Callable[[Sequence[int]], Backend]


def predict(backend: Backend, buckets: Sequence[int], pixels: Pixels) -> Probabilities:
    """Return float32 (n, classes) for uint8 (n, height, width, 3), in batches of bucket size."""
    rows = []
    for start in range(0, len(pixels), buckets[-1]):
        chunk = pixels[start : start + buckets[-1]]
        buffer = backend.allocate(next(size for size in buckets if size >= len(chunk)))
        buffer[: len(chunk)] = chunk
        rows.append(backend.run(buffer, len(chunk)))
    return np.concatenate(rows)
