"""Evaluation data as the network sees it, and what counts when answers are compared with it."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from export.contract.decoders import ImageError, Pixels
from export.contract.transform import Transform
from export.errors import ExportError
from training.datasets import Dataset

BINS = 15

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


class Scores(BaseModel):
    """How answers compare with the true classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    top1_correct: NonNegativeInt = Field(description="images whose first class is right")
    top5_correct: NonNegativeInt = Field(description="images whose first five hold the right class")
    calibration_error: NonNegativeFloat = Field(description="expected calibration error, 15 bins")
    class_correct: list[NonNegativeInt] = Field(description="top1_correct per true class")

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


def images_per_class(labels: Classes | None, classes: int) -> list[int] | None:
    """Return how many images each class has, None where nobody knows."""
    return None if labels is None else np.bincount(labels, minlength=classes).tolist()


def calibration_error(confidence: NDArray[np.float32], correct: NDArray[np.bool_]) -> float:
    """Return the mean gap of confidence and accuracy (Guo et al. 2017, arXiv:1706.04599)."""
    bins = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
    gaps = np.bincount(bins, confidence.astype(np.float64) - correct, BINS)
    return float(np.abs(gaps).sum() / len(confidence))
