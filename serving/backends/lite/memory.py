"""The memory through which batches pass between the server and a MindSpore Lite worker."""

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
    """Where batches of one size lie: offsets in bytes of their pixels and their answers."""

    bucket: int
    pixels: int
    answers: int


class Memory:
    """A file that both processes map; per batch size, pixels and answers.

    Args:
        descriptor: of the file; it may be closed once the worker has it.
        buckets: the batch sizes.
        image: height, width and channels.
        classes: number of probabilities per image.

    Raises:
        StartupError: there is no room.
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
    """Yield where every batch size lies, and last, as a batch of none, the end."""
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
        # Now, and not as a SIGBUS when the first batch is written.
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise StartupError(
            f"{SHARED} has no room for {size} bytes of batches: {error}; enlarge it (in a "
            f"container: --shm-size), or serve smaller --buckets"
        ) from error
