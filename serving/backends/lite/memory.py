"""The memory that the server and a MindSpore Lite worker share for batches."""

import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from images.transform import Pixels
from serving.errors import StartupError

SHARED = Path("/dev/shm")  # noqa: S108 - its files are memory
ALIGNMENT = 64


class Slot(NamedTuple):
    """Where batches of one size lie: the offsets of pixels and probabilities, in bytes."""

    bucket: int
    pixels: int
    answers: int


class Memory:
    """A file that both processes map, with pixels and probabilities of every batch size.

    Args:
        descriptor: descriptor of the file; it may be closed once the worker has it.
        buckets: the batch sizes.
        image: height, width and channels.
        classes: number of probabilities per image.

    Raises:
        StartupError: there is not enough memory.
    """

    def __init__(
        self, descriptor: int, buckets: Sequence[int], image: Sequence[int], classes: int
    ) -> None:
        *slots, end = _layout(buckets, int(np.prod(image)), 4 * classes)
        self.layout = slots
        _reserve(descriptor, end.pixels)
        shared = mmap.mmap(descriptor, end.pixels)
        self.pixels: dict[int, Pixels] = {}
        self.answers: dict[int, NDArray[np.float32]] = {}
        for bucket, pixels, answers in slots:
            flat = np.frombuffer(shared, np.uint8, bucket * int(np.prod(image)), pixels)
            self.pixels[bucket] = flat.reshape(bucket, *image)
            rows = np.frombuffer(shared, np.float32, bucket * classes, answers)
            self.answers[bucket] = rows.reshape(bucket, classes)


def _layout(buckets: Sequence[int], pixels: int, answers: int) -> Iterator[Slot]:
    """Yield where batches of each size lie, and last, as a batch of size 0, the end."""
    offset = 0
    for bucket in buckets:
        start, offset = offset, offset + _align(bucket * pixels)
        yield Slot(bucket, start, offset)
        offset += _align(bucket * answers)
    yield Slot(0, offset, offset)


def _align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _reserve(descriptor: int, size: int) -> None:
    try:
        # Fails now, and not with a SIGBUS when the first batch is written.
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise StartupError(
            f"{SHARED} has no room for {size} bytes of batches: {error}; enlarge it (in a "
            f"container: --shm-size), or use smaller --buckets"
        ) from error
