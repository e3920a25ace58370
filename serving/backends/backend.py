"""What the engine asks of a runtime: one small Protocol."""

import bisect
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Precision
from images.transform import Pixels

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
