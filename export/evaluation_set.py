"""The evaluation set as the network sees it, hashed as it passes, and how answers score on it."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator
from rich.console import Console
from rich.progress import Progress

from bundle.manifest import Accuracy, Frozen, Task
from export.errors import ExportError
from export.photos import open_photos
from images.decoders import ImageError, Pixels
from images.transform import Transform
from training.data.dataset import Dataset
from training.data.datasets import open_dataset
from training.data.files import FileDataset

Probabilities = NDArray[np.float32]
Classes = NDArray[np.intp]
Scalar = TypeVar("Scalar", bound=np.generic)

BINS = 15


class ImageSet(Protocol):
    """Images after the transform, batch by batch, as often as needed."""

    @property
    def name(self) -> str:
        """What to call the images in a report."""

    @property
    def labels(self) -> Classes | None:
        """The true class of each image, if known."""

    def __len__(self) -> int: ...

    def title(self, index: int) -> str:
        """Return what to call an image in a message."""

    def batches(self, size: int) -> Iterator[Pixels]:
        """Yield uint8 (at most size, height, width, 3) until the set ends."""


@dataclass(frozen=True)
class EvaluationSet:
    """A dataset through the transform; decoded again each time, never held whole."""

    name: str
    dataset: Dataset
    transform: Transform
    task: Task = "multiclass"

    def __len__(self) -> int:
        return len(self.dataset)

    def title(self, index: int) -> str:
        """Return the path of an image, or its position in a file."""
        return self.dataset.name(index)

    @cached_property
    def labels(self) -> Classes | None:
        """The true class of each image; None for photos without classes.

        None for a multilabel model, too: an image may have several.
        """
        if self.task == "multilabel" or not self.dataset.class_names:
            return None
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


def open_images(
    folder: Path, labels: list[str], transform: Transform, task: Task = "multiclass"
) -> EvaluationSet:
    """Open the test split in a folder (IDX files, a folder per class, photos) as a model sees it.

    Raises:
        ExportError: it has a class that is not one of the model's.
        TrainingError: there is no usable dataset.
    """
    photos = open_photos(folder, "test")
    dataset = photos or with_classes(open_dataset(folder, "test"), labels)
    return EvaluationSet(f"{folder.resolve().name}/test", dataset, transform, task)


def with_classes(dataset: Dataset, labels: list[str]) -> Dataset:
    """Return a dataset whose classes are all labels of a model, in its order; matched by name.

    Folders come in alphabetical order, and rarely for each of a model's thousand labels.

    Raises:
        ExportError: a class is not among the labels, or stands there twice.
    """
    if dataset.class_names == labels:
        return dataset
    if not isinstance(dataset, FileDataset):
        raise ExportError(
            f"--images: the classes of {dataset.source} are {_few(dataset.class_names)}, those of "
            f"the model {_few(labels)}"
        )
    for name in dataset.class_names:
        if labels.count(name) != 1:
            where = "twice among" if name in labels else "not among"
            raise ExportError(
                f"--images: the folder {name!r} in {dataset.source} is {where} the model's labels, "
                f"{_few(labels)}: each folder must have the name of one label"
            )
    classes = [labels.index(name) for name in dataset.class_names]
    return replace(dataset, labels=[classes[own] for own in dataset.labels], class_names=labels)


def _few(labels: list[str]) -> str:
    more = [f"and {len(labels) - 3} more"] if len(labels) > 3 else []
    return ", ".join([*map(repr, labels[:3]), *more])


@dataclass(frozen=True)
class HeldImages:
    """Images after the transform, few enough to be held: uint8 (n, height, width, 3)."""

    name: str
    pixels: Pixels
    labels: Classes | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def title(self, index: int) -> str:
        """Return the name of the set and the position in it, from 0."""
        return f"{self.name} image {index}"

    def batches(self, size: int) -> Iterator[Pixels]:
        """Yield uint8 (at most size, height, width, 3)."""
        yield from (self.pixels[start : start + size] for start in range(0, len(self), size))


class Fingerprint:
    """Hashes pixels as they pass, to recognise the same evaluation set elsewhere."""

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


class Scores(Frozen):
    """How answers compare with the true classes."""

    top1_correct: NonNegativeInt = Field(description="images whose first class is right")
    top5_correct: NonNegativeInt = Field(description="images whose first five hold the right class")
    calibration_error: NonNegativeFloat = Field(description="expected calibration error, 15 bins")
    class_correct: list[NonNegativeInt] = Field(description="top1_correct per true class")

    @model_validator(mode="after")
    def _adds_up(self) -> "Scores":
        if sum(self.class_correct) != self.top1_correct:
            raise ValueError(
                f"class_correct adds up to {sum(self.class_correct)}, not to top1_correct, "
                f"{self.top1_correct}"
            )
        return self

    @classmethod
    def of(cls, probabilities: Probabilities, labels: Classes) -> "Scores":
        """Score float32 (n, classes) against the n true classes."""
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
        hits = best == labels[:, None]
        return cls(
            top1_correct=int(hits[:, 0].sum()),
            top5_correct=int(hits.any(axis=1).sum()),
            calibration_error=calibration_error(probabilities.max(axis=1), hits[:, 0]),
            class_correct=np.bincount(
                labels[hits[:, 0]], minlength=probabilities.shape[1]
            ).tolist(),
        )

    def accuracy(self, dataset: str, images: int) -> Accuracy:
        """Return what a manifest states of them."""
        return Accuracy(
            dataset=dataset,
            images=images,
            top1_correct=self.top1_correct,
            top5_correct=self.top5_correct,
        )


def images_per_class(labels: Classes | None, classes: int) -> list[int] | None:
    """Return how many images each class has, None if that is unknown."""
    return None if labels is None else np.bincount(labels, minlength=classes).tolist()


def calibration_error(confidence: NDArray[np.float32], correct: NDArray[np.bool_]) -> float:
    """Return the mean gap of confidence and accuracy (Guo et al. 2017, arXiv:1706.04599)."""
    bins = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
    gaps = np.bincount(bins, confidence.astype(np.float64) - correct, BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def padded(pixels: NDArray[Scalar], batch: int) -> NDArray[Scalar]:
    """Return (batch, ...) of the same type: the images, (n, ...), then zeros."""
    whole = np.zeros((batch, *pixels.shape[1:]), pixels.dtype)
    whole[: len(pixels)] = pixels
    return whole


def progress(batches: Iterable[Pixels], images: int, what: str) -> Iterator[Pixels]:
    """Yield the batches; on a terminal draw a bar that counts images, on stderr."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=images)
        for batch in batches:
            yield batch
            bar.advance(task, len(batch))
