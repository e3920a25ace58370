"""Accuracy and calibration: answers against the true classes."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from bundle.manifest import Accuracy, Frozen
from export.evaluation.image_sets import Classes, Probabilities

BINS = 15


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
