"""An evaluation over a whole dataset, with the pixels that serving sees, and its report."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import mindspore
import numpy as np
from matplotlib.figure import Figure
from mindspore import Tensor, nn
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bundle.manifest import Normalization
from images.transform import Transform
from training import distributed
from training.data.batches import EvaluationImages, Images, Mask, labels, normalize
from training.data.datasets import Dataset
from training.data.prefetch import Indices, Prefetcher
from training.errors import DatasetError, writing
from training.metrics import Evaluation, Metrics, Tally
from training.settings.config import CommonConfig

LABELLED = 30  # more names than this cannot be read on the axes


class Evaluator:
    """Evaluates one network on one dataset, as often as asked for; every image counts once.

    The processes of a group share the images, and all of them run the parameters of the master.
    """

    def __init__(
        self,
        net: nn.Cell,
        dataset: Dataset,
        transform: Transform,
        normalization: Normalization,
        batch_size: int,
        config: CommonConfig,
    ) -> None:
        self._net, self._normalization, self._batch_size = net, normalization, batch_size
        self._config, self._classes = config, len(dataset.class_names)
        self._images = EvaluationImages(dataset, transform, config)
        self._labels = labels(dataset, min(len(dataset), config.eval_images or len(dataset)))

        @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
        def forward(images: Tensor) -> Tensor:
            return net(images)

        self._forward = forward

    def evaluate(self) -> Evaluation:
        """Return what was counted; the network is left in the mode it came in.

        Raises BrokenImageError if the settings say so, DatasetError if no image is readable.
        """
        distributed.share(self._net, self._config)
        training = self._net.training
        self._net.set_train(False)
        own = Tally.of(np.empty((0, self._classes)), self._labels[:0], self._classes)
        ends = [time.monotonic()]
        for images, indices, readable in Prefetcher(self._batches()):
            # Shares memory with the array, to which no other reference is kept.
            logits = self._forward(Tensor.from_numpy(images)).asnumpy()
            own += Tally.of(logits[readable], self._labels[indices[readable]], self._classes)
            ends.append(time.monotonic())
        self._net.set_train(training)
        return self._over_all_processes(own, images_per_second(ends, self._batch_size))

    def _batches(self) -> Iterator[tuple[Images, Indices, Mask]]:
        """Yield full batches; the last one repeats its first image, which is masked there."""
        share = np.arange(len(self._labels))[self._config.rank :: self._config.group_size]
        for start in range(0, len(share), self._batch_size):
            known = share[start : start + self._batch_size]
            indices = np.pad(known, (0, self._batch_size - len(known)), constant_values=known[0])
            pixels, readable = self._images.batch(indices)
            readable[len(known) :] = False
            yield normalize(pixels, self._normalization), indices, readable

    def _over_all_processes(self, own: Tally, speed: float) -> Evaluation:
        confusion, top5 = (distributed.total(c, self._config) for c in (own.confusion, own.top5))
        if not confusion.any():
            raise DatasetError(f"none of the {len(self._labels)} test images is readable")
        speeds = distributed.total(np.array([speed]), self._config)
        return Evaluation(own, Tally(confusion, top5), float(speeds[0]))


def images_per_second(ends: Sequence[float], batch_size: int) -> float:
    """Return the speed, data and counting included; `ends`: times of start and each batch, in s.

    The first batch, which compiles, counts only if it is alone.
    """
    measured = ends[1:] if len(ends) > 2 else ends
    batches = len(measured) - 1
    return batches * batch_size / (measured[-1] - measured[0]) if batches else 0.0


class ClassAccuracy(BaseModel):
    """One class: its images in the test set, and the fractions of them that were right."""

    name: str
    images: int
    top1: float | None
    top5: float | None


class EvaluationReport(BaseModel):
    """An evaluation as written; `confusion[i][j]` counts images of class i taken for class j."""

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

        Raises OutputError if it cannot.
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
