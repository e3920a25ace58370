"""Counting right answers over a whole dataset, with the pixels that serving would see."""

import time
from collections.abc import Iterator, Sequence

import mindspore
import numpy as np
from mindspore import Tensor, nn

from bundle.manifest import Normalization
from images.transform import Transform
from training import distributed
from training.data.batches import Images, labels, normalize
from training.data.datasets import Dataset
from training.data.pixels import Mask, TransformedImages
from training.data.prefetch import Prefetcher
from training.data.workers import Indices
from training.errors import DatasetError
from training.metrics import Evaluation, Tally
from training.settings.config import CommonConfig


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
        self._images = TransformedImages(dataset, transform, config)
        self._labels = labels(dataset, min(len(dataset), config.eval_images or len(dataset)))

        @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
        def forward(images: Tensor) -> Tensor:
            return net(images)

        self._forward = forward

    def evaluate(self) -> Evaluation:
        """Return what was counted; the network is left in the mode it came in.

        Raises BrokenImageError if the settings say so, DatasetError where no image is readable.
        """
        distributed.share(self._net, self._config)
        training = self._net.training
        self._net.set_train(False)
        own = Tally.of(np.empty((0, self._classes)), self._labels[:0], self._classes)
        ends = [time.monotonic()]
        for images, indices, readable in Prefetcher(self._batches()):
            # Shares memory with the array, which nobody else keeps.
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
    """Return the speed, data and counting included; `ends`: of the start and each batch, seconds.

    The first batch, which compiles, counts only if it is alone.
    """
    measured = ends[1:] if len(ends) > 2 else ends
    batches = len(measured) - 1
    return batches * batch_size / (measured[-1] - measured[0]) if batches else 0.0
