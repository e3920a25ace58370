"""What an evaluation counted."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt

TOP_K = 5


class Metrics(BaseModel):
    """Accuracy over a dataset, every image counted once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    top1: float = Field(ge=0, le=1, description="fraction whose first class is right")
    top5: float = Field(ge=0, le=1, description="fraction whose first five hold the right class")
    images: PositiveInt = Field(description="number of images counted")
    images_per_second: NonNegativeFloat = Field(
        0, exclude=True, description="speed of the evaluation, its first batch left out"
    )

    def lines(self) -> list[str]:
        """Return the lines that the upstream's eval.py logs."""
        correct1, correct5 = round(self.top1 * self.images), round(self.top5 * self.images)
        return [
            f"Inference Performance: {self.images_per_second:.2f} img/sec",
            f"top1_correct={correct1}, tot={self.images},acc={self.top1:.2%}(TOP1)",
            f"top5_correct={correct5}, tot={self.images},acc={self.top5:.2%}(TOP5)",
        ]


def hits(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many of (N, K) logits have their label (N,) first, and among the first five."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :TOP_K]
    found = best == labels[:, None]
    return np.array([found[:, 0].sum(), found.any(axis=1).sum()])
