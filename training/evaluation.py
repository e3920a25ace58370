"""Counting right answers over a whole dataset, with the pixels that serving would see."""

import time
from collections.abc import Iterator

import mindspore
import numpy as np
from mindspore import Tensor, nn

from export.contract.manifest import Normalization
from export.contract.transform import Transform
from training.data import Images, Labels, labels, normalize
from training.datasets import Dataset
from training.metrics import Metrics, hits
from training.prefetch import Prefetcher
from training.sources import TransformedImages


class Evaluator:
    """Evaluates one network on one dataset, as often as asked for; every image counts once."""

    def __init__(
        self,
        net: nn.Cell,
        dataset: Dataset,
        transform: Transform,
        normalization: Normalization,
        batch_size: int,
        limit: int | None = None,
    ) -> None:
        self._net, self._normalization, self._batch_size = net, normalization, batch_size
        self._images = TransformedImages(dataset, transform)
        self._labels = labels(dataset, min(len(dataset), limit or len(dataset)))

        @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
        def forward(images: Tensor) -> Tensor:
            return net(images)

        self._forward = forward

    def evaluate(self) -> Metrics:
        """Return accuracy and speed; the network is left in the mode it came in."""
        training = self._net.training
        self._net.set_train(False)
        correct, seconds = np.zeros(2, np.int64), []
        for images, known in Prefetcher(self._batches()):
            start = time.monotonic()
            logits = self._forward(Tensor(images)).asnumpy()
            seconds.append(time.monotonic() - start)
            correct += hits(logits[: len(known)], known)
        self._net.set_train(training)
        top1, top5 = correct / len(self._labels)
        return Metrics(
            top1=top1,
            top5=top5,
            images=len(self._labels),
            images_per_second=self._speed(seconds),
        )

    def _batches(self) -> Iterator[tuple[Images, Labels]]:
        """Yield full batches; the last one repeats its first image, and has fewer labels."""
        for start in range(0, len(self._labels), self._batch_size):
            known = self._labels[start : start + self._batch_size]
            indices = np.full(self._batch_size, start)
            indices[: len(known)] += np.arange(len(known))
            yield normalize(self._images.batch(indices), self._normalization), known

    def _speed(self, seconds: list[float]) -> float:
        """Images per second; the first batch, which compiles, counts only if it is alone."""
        measured = seconds[1:] or seconds
        return len(measured) * self._batch_size / sum(measured)
