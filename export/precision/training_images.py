"""Training images for int8, in two parts, none of them in the evaluation set."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.evaluation_set import EvaluationSet, HeldImages, with_classes
from export.photos import open_photos
from images.transform import Transform
from training.data.dataset import Dataset, naming_broken
from training.data.datasets import open_dataset

CALIBRATION_IMAGES = 512
HELD_OUT_IMAGES = 2000
LEAST_IMAGES = 200


def split(folder: Path, evaluation: EvaluationSet) -> tuple[HeldImages, HeldImages]:
    """Return images to calibrate on and others to choose by, the same at every call.

    Their classes are None if they have none.

    Raises:
        ExportError: the folder holds no training images of these classes, or too few.
        TrainingError: it holds no images at all, or one that cannot be read.
    """
    photos, transform = open_photos(folder, "train"), evaluation.transform
    dataset = photos or _with_the_classes_of(evaluation.dataset, folder)
    if len(dataset) < LEAST_IMAGES:
        also = "" if dataset.source != evaluation.dataset.source else (
            f" (the other {len(evaluation)} photos judge)"
        )  # fmt: skip
        raise ExportError(
            f"int8 needs at least {LEAST_IMAGES} training images, half to calibrate on and half to "
            f"choose by; --images {folder} holds {len(dataset)}{also}"
        )
    order = np.random.default_rng(0).permutation(len(dataset))
    middle = min(CALIBRATION_IMAGES, len(dataset) // 2)
    calibration, held_out = order[:middle], order[middle : middle + HELD_OUT_IMAGES]
    return _held(dataset, transform, calibration), _held(dataset, transform, held_out)


def _with_the_classes_of(judges: Dataset, folder: Path) -> Dataset:
    dataset = open_dataset(folder, "train")
    known = set(dataset.class_names) <= set(judges.class_names)
    if not known or dataset.source == judges.source:
        raise ExportError(
            f"int8 is calibrated on training images, never on those that judge it; --images "
            f"{folder} holds none of these classes: it needs {folder}/train, one folder per class, "
            f"beside {folder}/val (or IDX files of both, or photos without classes in both)"
        )
    return with_classes(dataset, judges.class_names)


def _held(dataset: Dataset, transform: Transform, indices: NDArray[np.intp]) -> HeldImages:
    pixels = []
    for index in map(int, indices):
        with naming_broken(dataset, index):
            pixels.append(transform.decode(dataset.encoded(index)))
    labels = np.array([dataset.label(int(i)) for i in indices]) if dataset.class_names else None
    return HeldImages("the training images", np.stack(pixels), labels)
