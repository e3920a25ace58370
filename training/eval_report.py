"""An evaluation in full: how well each class is told, and what it is taken for."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from training.data.datasets import Dataset
from training.metrics import Evaluation, Metrics
from training.writing import writing

LABELLED = 30  # more names than this cannot be read on the axes


class ClassAccuracy(BaseModel):
    """One class: its images in the test set, and the fractions of them that were told right."""

    name: str
    images: int
    top1: float | None
    top5: float | None


class EvaluationReport(BaseModel):
    """What is written; `confusion[i][j]` counts images of class i that were taken for class j."""

    model_config = ConfigDict(frozen=True)

    checkpoint: str
    data: str
    metrics: Metrics
    images_per_second: float
    classes: list[ClassAccuracy]
    confusion: list[list[int]]

    @classmethod
    def of(cls, checkpoint: Path, dataset: Dataset, evaluation: Evaluation) -> "EvaluationReport":
        """Return the report of one checkpoint; accuracies of a class without images are None."""
        whole = evaluation.whole
        counts = zip(
            dataset.class_names,
            whole.confusion.sum(axis=1).tolist(),
            whole.confusion.diagonal().tolist(),
            whole.top5.tolist(),
            strict=True,
        )
        return cls(
            checkpoint=str(checkpoint),
            data=str(dataset.source),
            metrics=evaluation.metrics,
            images_per_second=evaluation.images_per_second,
            classes=[
                ClassAccuracy(
                    name=name,
                    images=images,
                    top1=first / images if images else None,
                    top5=five / images if images else None,
                )
                for name, images, first, five in counts
            ],
            confusion=whole.confusion.tolist(),
        )

    def write(self, folder: Path, stem: str) -> Path:
        """Write <stem>.json and, drawn, <stem>.png; return the picture's path.

        Raises OutputError where it cannot.
        """
        drawn = _draw(np.array(self.confusion), [c.name for c in self.classes])
        picture = folder / f"{stem}.png"
        with writing(picture):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{stem}.json").write_text(self.model_dump_json(indent=1) + "\n")
            drawn.savefig(picture, dpi=100)
        return picture


def _draw(confusion: NDArray[np.int64], names: list[str]) -> Figure:
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the class")
    axes.set(xlabel="answer", ylabel="class")
    if len(names) <= LABELLED:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
    return figure
