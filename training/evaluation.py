"""An evaluation over a whole dataset, with the pixels that serving sees, and its report."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from matplotlib.figure import Figure
from mindspore import Tensor, nn
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bundle.manifest import Normalization
from images.transform import Transform
from training import distributed
from training.data.augmenter import Images
from training.data.batches import (
    EvaluationImages,
    Mask,
    labels,
    normalize,
    share_of_each_class,
)
from training.data.dataset import Dataset
from training.data.prefetch import Indices, Prefetcher
from training.errors import DatasetError, DivergedError, writing
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
        self._images = EvaluationImages(dataset, transform, batch_size, config)
        self._dataset, self._labels = dataset, labels(dataset)
        self._chosen = share_of_each_class(self._labels, config.eval_images)
        self._share = self._chosen[config.rank :: config.group_size]

        @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
        def forward(images: Tensor) -> Tensor:
            return net(images)

        self._forward = forward

    @property
    def batches(self) -> int:
        """How many batches this process runs."""
        return self._batches_of(self._config.rank)

    @property
    def common_batches(self) -> int:
        """How many batches every process of the group runs; some have one more."""
        return self._batches_of(self._config.group_size - 1)

    def _batches_of(self, rank: int) -> int:
        share = self._chosen[rank :: self._config.group_size]
        return math.ceil(len(share) / self._batch_size)

    def evaluate(self, after_batch: Callable[[], None] = lambda: None) -> Evaluation:
        """Return what was counted; the network is left in the mode it came in.

        Args:
            after_batch: called after each batch. It may end the evaluation by raising.

        Raises:
            BrokenImageError: an image cannot be read, and the settings do not say to skip it.
            DatasetError: no image can be read.
            DivergedError: an output is not a number.
        """
        distributed.share(self._net, self._config)
        training = self._net.training
        self._net.set_train(False)
        try:
            own, ends = self._tally(after_batch)
        finally:
            self._net.set_train(training)
        return self._over_all_processes(own, images_per_second(ends, self._batch_size))

    def _tally(self, after_batch: Callable[[], None]) -> tuple[Tally, list[float]]:
        """Return what this process counted, and the times of start and each batch, in seconds."""
        none = np.zeros((self._classes, self._classes), np.int64)
        own, ends = Tally(none, none[0]), [time.monotonic()]
        for images, indices, readable in Prefetcher(self._batches()):
            # Shares memory with the array, to which no other reference is kept.
            logits = self._forward(Tensor.from_numpy(images)).asnumpy()
            self._check_finite(logits[readable], indices[readable])
            own += Tally.of(logits[readable], self._labels[indices[readable]], self._classes)
            ends.append(time.monotonic())
            after_batch()
        return own, ends

    def _check_finite(self, logits: NDArray[Any], indices: Indices) -> None:
        wrong = ~np.isfinite(logits).all(axis=1)
        if wrong.any():
            image = self._dataset.name(int(indices[wrong.argmax()]))
            raise DivergedError(
                f"the network's outputs for {image} are not numbers: its weights are damaged, or "
                f"those of a run that diverged"
            )

    def _batches(self) -> Iterator[tuple[Images, Indices, Mask]]:
        """Yield full batches; the last one repeats its first image, which is masked there."""
        left = len(self._share)
        for indices, pixels, readable in self._images.batches(self._indices()):
            readable[left:] = False
            left -= len(indices)
            yield normalize(pixels, self._normalization), indices, readable

    def _indices(self) -> Iterator[Indices]:
        for start in range(0, len(self._share), self._batch_size):
            known = self._share[start : start + self._batch_size]
            yield np.pad(known, (0, self._batch_size - len(known)), constant_values=known[0])

    def _over_all_processes(self, own: Tally, speed: float) -> Evaluation:
        confusion, top5 = (distributed.total(c, self._config) for c in (own.confusion, own.top5))
        loss = float(distributed.total(np.array([own.loss]), self._config)[0])
        if not confusion.any():
            raise DatasetError(f"none of the {len(self._chosen)} test images is readable")
        speeds = distributed.total(np.array([speed]), self._config)
        return Evaluation(own, Tally(confusion, top5, loss), float(speeds[0]))


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
    """An evaluation as written.

    `confusion` holds [i, j, n]: n images of class i were taken for class j. What did not occur is
    left out, which keeps the file of a thousand classes small.
    """

    model_config = ConfigDict(frozen=True)

    checkpoint: str
    data: str
    metrics: Metrics
    images_per_second: float
    classes: list[ClassAccuracy]
    confusion: list[tuple[int, int, int]]

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
            confusion=[
                (int(i), int(j), int(whole.confusion[i, j]))
                for i, j in np.argwhere(whole.confusion)
            ],
        )

    def write(self, folder: Path, stem: str) -> Path:
        """Write <stem>.json and, drawn, <stem>.png; return the picture's path.

        Raises OutputError if it cannot.
        """
        drawn = self._draw()
        picture = folder / f"{stem}.png"
        with writing(picture):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{stem}.json").write_text(self.model_dump_json() + "\n")
            drawn.savefig(picture, dpi=100)
        return picture

    def _draw(self) -> Figure:
        names = [one.name for one in self.classes]
        shares = np.zeros((len(names), len(names)))
        for i, j, count in self.confusion:
            shares[i, j] = count / self.classes[i].images
        figure = Figure(figsize=(9, 8), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(image, ax=axes, label="share of the class")
        axes.set(xlabel="answer", ylabel="class")
        if len(names) <= LABELLED:
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
            axes.set_yticks(range(len(names)), names)
        return figure
