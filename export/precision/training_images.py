"""Training images for int8, in two parts, none of them in the evaluation set."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.evaluation_set import EvaluationSet, HeldImages
from images.transform import Pixels, Transform
from training.data.datasets import Dataset, open_dataset

CALIBRATION_IMAGES = 512
HELD_OUT_IMAGES = 2000
LEAST_IMAGES = 200


@dataclass(frozen=True)
class Subset:
    """Some images of a dataset, in an order of their own."""

    dataset: Dataset
    indices: NDArray[np.intp]

    @property
    def source(self) -> Path:
        """Where the whole dataset lies."""
        return self.dataset.source

    @property
    def class_names(self) -> list[str]:
        """Names in the order of the labels."""
        return self.dataset.class_names

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        """Return a name by which a reader can find the image."""
        return self.dataset.name(int(self.indices[index]))

    def label(self, index: int) -> int:
        """Return the class of an image."""
        return self.dataset.label(int(self.indices[index]))

    def rgb(self, index: int) -> Pixels:
        """Return the decoded image, uint8 (height, width, 3)."""
        return self.dataset.rgb(int(self.indices[index]))

    def encoded(self, index: int) -> bytes:
        """Return the image as file bytes."""
        return self.dataset.encoded(int(self.indices[index]))


def split(folder: Path, evaluation: EvaluationSet) -> tuple[HeldImages, HeldImages]:
    """Return images to calibrate on and others to choose by, the same at every call.

    Raises:
        ExportError: the folder holds no training images of these classes, or too few.
        TrainingError: it holds no images at all.
    """
    dataset = open_dataset(folder, "train")
    judges = evaluation.dataset
    if dataset.class_names != judges.class_names or dataset.source == judges.source:
        raise ExportError(
            f"int8 is calibrated on training images, never on those that judge it; --images "
            f"{folder} holds none of these classes: it needs {folder}/train, one folder per class, "
            f"beside {folder}/val (or IDX files of both)"
        )
    if len(dataset) < LEAST_IMAGES:
        raise ExportError(
            f"int8 needs at least {LEAST_IMAGES} training images, half to calibrate on and half to "
            f"choose by; --images {folder} holds {len(dataset)}"
        )
    order = np.random.default_rng(0).permutation(len(dataset))
    middle = min(CALIBRATION_IMAGES, len(dataset) // 2)
    training = partial(_decoded, dataset, evaluation.transform)
    return training(order[:middle]), training(order[middle : middle + HELD_OUT_IMAGES])


def _decoded(dataset: Dataset, transform: Transform, indices: NDArray[np.intp]) -> HeldImages:
    images = EvaluationSet("the training images", Subset(dataset, indices), transform)
    [pixels] = images.batches(len(images))
    return HeldImages(images.name, pixels, images.labels)
