"""Evaluation data as the network sees it."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from images.decoders import ImageError, Pixels
from images.transform import Transform
from training.data.datasets import Dataset, open_dataset

Probabilities = NDArray[np.float32]
Classes = NDArray[np.intp]


class ImageSet(Protocol):
    """Images after the transform, one batch after the other, as often as asked for."""

    @property
    def name(self) -> str:
        """What to call the images in a report."""

    @property
    def labels(self) -> Classes | None:
        """The true class of each image, if known."""

    def __len__(self) -> int: ...

    def batches(self, size: int) -> Iterator[Pixels]:
        """Yield uint8 (at most size, height, width, 3) until the set ends."""


@dataclass(frozen=True)
class EvaluationSet:
    """A labelled dataset through the transform; decoded anew each time, never held whole."""

    name: str
    dataset: Dataset
    transform: Transform

    def __len__(self) -> int:
        return len(self.dataset)

    @cached_property
    def labels(self) -> Classes:
        """The true class of each image."""
        return np.array([self.dataset.label(index) for index in range(len(self))])

    def batches(self, size: int) -> Iterator[Pixels]:
        """Yield the decoded files, uint8 (at most size, height, width, 3)."""
        for start in range(0, len(self), size):
            yield np.stack(
                [self._pixels(index) for index in range(start, min(start + size, len(self)))]
            )

    def _pixels(self, index: int) -> Pixels:
        try:
            return self.transform.decode(self.dataset.encoded(index))
        except ImageError as error:
            raise ExportError(f"image {index} of {self.name}: {error}") from error


def open_images(folder: Path, labels: list[str], transform: Transform) -> EvaluationSet:
    """Open the test split in a folder (IDX files, or a folder per class) as a model sees it.

    Raises:
        ExportError: its classes are not the model's.
        TrainingError: there is no usable dataset.
    """
    dataset = open_dataset(folder, "test")
    for index, (here, there) in enumerate(zip_longest(dataset.class_names, labels)):
        if here != there:
            raise ExportError(
                f"--images: class {index} is {here!r} in this data, but {there!r} in the model"
            )
    return EvaluationSet(f"{folder.resolve().name}/test", dataset, transform)


@dataclass(frozen=True)
class UnlabelledSet:
    """A few images whose classes nobody knows."""

    name: str
    pixels: Pixels
    labels: None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, size: int) -> Iterator[Pixels]:
        """Yield uint8 (at most size, height, width, 3)."""
        yield from (self.pixels[start : start + size] for start in range(0, len(self), size))


class Fingerprint:
    """Hashes pixels as they pass, so that the same evaluation set is known again elsewhere."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def of(self, batches: Iterable[Pixels]) -> Iterator[Pixels]:
        """Yield the batches unchanged."""
        for pixels in batches:
            self._hash.update(np.ascontiguousarray(pixels).data)
            yield pixels

    def hexdigest(self, labels: Classes | None) -> str:
        """Return the sha256 of all pixels so far, followed by their classes as int64."""
        whole = self._hash.copy()
        if labels is not None:
            whole.update(labels.astype("<i8").tobytes())
        return whole.hexdigest()
