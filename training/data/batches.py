"""From a dataset to normalised batches; nothing here depends on threads or on batching."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Normalization
from training.data.augmentation import Pixels
from training.data.datasets import Dataset
from training.data.pixels import ORDER, training_images
from training.errors import DatasetError
from training.settings.config import TrainConfig

Images = NDArray[np.float32]
Labels = NDArray[np.int32]


class TrainingData:
    """This process's share of each epoch's augmented, normalised batches of `count` images.

    A step takes `per_batch_size` images for each process of the group; what is left at the end of
    an epoch, less than a step, is left out.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig) -> None:
        self._config = config
        self.count = min(len(dataset), config.train_images or len(dataset))
        self.steps_per_epoch = self.count // (config.per_batch_size * config.group_size)
        if not self.steps_per_epoch:
            batch = f"{config.per_batch_size} images in each of {config.group_size} processes"
            raise DatasetError(f"{self.count} images do not fill one batch of {batch}")
        self._labels = labels(dataset, self.count)
        self._images = training_images(dataset, config)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Images, Labels]]:
        """Yield an epoch's batches from a step on, both from 0: float32 (N, 3, H, W), int32 (N,).

        Steps that are left out are not decoded. Raises BrokenImageError if the settings say so.
        """
        order = np.random.default_rng((self._config.seed, epoch, ORDER)).permutation(self.count)
        size, group = self._config.per_batch_size, self._config.group_size
        for step in range(first_step, self.steps_per_epoch):
            batch = step * group + self._config.rank
            pixels, found = self._images.batch(epoch, order[batch * size : (batch + 1) * size])
            yield normalize(pixels, self._config.normalization), self._labels[found]


def labels(dataset: Dataset, count: int) -> Labels:
    """Return the classes of the first `count` images, int32 (count,)."""
    return np.array([dataset.label(index) for index in range(count)], np.int32)


def normalize(pixels: Pixels, normalization: Normalization) -> Images:
    """Return (pixels - mean) / std: uint8 (N, H, W, 3) -> float32 (N, 3, H, W)."""
    mean = np.array(normalization.mean, np.float32)[:, None, None]
    std = np.array(normalization.std, np.float32)[:, None, None]
    images: Images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) - mean
    images /= std
    return images
