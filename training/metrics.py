"""What an evaluation counted."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt

TOP_K = 5
Counts = NDArray[np.int64]


class Metrics(BaseModel):
    """Accuracy over a dataset, every image counted once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    top1: float = Field(ge=0, le=1, description="fraction whose first class is right")
    top5: float = Field(ge=0, le=1, description="fraction whose first five hold the right class")
    loss: NonNegativeFloat | None = Field(
        None, description="mean cross-entropy, labels not smoothed; null in older files"
    )
    images: PositiveInt = Field(description="number of images counted")
    images_per_second: NonNegativeFloat = Field(
        0, exclude=True, description="speed of the evaluation, its first batch left out"
    )

    def lines(self) -> list[str]:
        """Return the lines that the upstream's eval.py logs: speed, top-1, top-5."""
        correct1, correct5 = round(self.top1 * self.images), round(self.top5 * self.images)
        start, tot = "after allreduce eval:", f"tot={self.images}"
        return [
            f"Inference Performance: {self.images_per_second:.2f} img/sec",
            f"{start} top1_correct={correct1}, {tot},acc={self.top1:.2%}(TOP1)",
            f"{start} top5_correct={correct5}, {tot},acc={self.top5:.2%}(TOP5)",
        ]


@dataclass(frozen=True)
class Tally:
    """Answers per class, and the loss of all images.

    Attributes:
        confusion: int64 (K, K), true class by answer.
        top5: int64 (K,), of each class how many were among the first five answers.
        loss: sum of the cross-entropies.
    """

    confusion: Counts
    top5: Counts
    loss: float = 0.0

    @classmethod
    def of(cls, logits: NDArray[Any], labels: NDArray[Any], classes: int) -> "Tally":
        """Count logits (N, K) against their labels (N,)."""
        best = np.argsort(-logits, axis=1, kind="stable")[:, :TOP_K]
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (labels, best[:, 0]), 1)
        found = (best == labels[:, None]).any(axis=1)
        top5 = np.bincount(labels[found], minlength=classes)
        return cls(confusion, top5, float(_cross_entropy(logits, labels).sum()))

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.confusion + other.confusion, self.top5 + other.top5, self.loss + other.loss
        )

    @property
    def results(self) -> tuple[int, int, int]:
        """How many were right, right among the first five, and seen."""
        return int(self.confusion.trace()), int(self.top5.sum()), int(self.confusion.sum())


@dataclass(frozen=True)
class Evaluation:
    """What one process counted, what all of them did, and the images per second of all."""

    own: Tally
    whole: Tally
    images_per_second: float

    @property
    def metrics(self) -> Metrics:
        """Accuracy over all processes."""
        top1, top5, images = self.whole.results
        return Metrics(
            top1=top1 / images,
            top5=top5 / images,
            loss=self.whole.loss / images,
            images=images,
            images_per_second=self.images_per_second,
        )

    def lines(self) -> list[str]:
        """Return all that the upstream's eval.py logs, in its words."""
        speed, *accuracy = self.metrics.lines()
        before = ", ".join(f"[{count}]" for count in self.own.results)
        after = " ".join(f"[{count}]" for count in self.whole.results)
        return [speed, f"before results=[{before}]", f"after results=[{after}]", *accuracy]


def _cross_entropy(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return the loss of each image, (N,): the negative logarithm of its class's softmax."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    own = shifted[np.arange(len(labels)), labels]
    losses: NDArray[np.float64] = np.log(np.exp(shifted).sum(axis=1)) - own
    return losses
