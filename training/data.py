"""From a dataset to normalised batches; nothing here depends on threads or on batching."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from export.contract.manifest import Normalization
from export.contract.transform import Transform
from training.augmentation import Pixels, random_resized_crop, shift_and_flip, uniform_draws
from training.config import TrainConfig
from training.datasets import Dataset
from training.errors import DatasetError

Indices = NDArray[np.intp]
Images = NDArray[np.float32]
Labels = NDArray[np.int32]

# Streams of random numbers, so that none of them repeats another.
ORDER, SHIFT, CROP = range(3)
CACHE_BYTES = 2**29


class Source(Protocol):
    """Where augmented training images come from."""

    def batch(self, epoch: int, indices: Indices) -> Pixels:
        """Return augmented images, uint8 (len(indices), H, W, 3)."""


class TransformedImages:
    """A dataset through the transform; kept in memory where it is small."""

    def __init__(self, dataset: Dataset, transform: Transform) -> None:
        self._dataset, self._transform = dataset, transform
        self._cache: dict[int, Pixels] | None = None
        if len(dataset) * transform.crop.height * transform.crop.width * 3 <= CACHE_BYTES:
            self._cache = {}

    def batch(self, indices: Indices) -> Pixels:
        """Return images exactly as serving sees them, uint8 (len(indices), H, W, 3)."""
        return np.stack([self._one(int(index)) for index in indices])

    def _one(self, index: int) -> Pixels:
        if self._cache is None:
            return self._transform.decode(self._dataset.encoded(index))
        if index not in self._cache:
            self._cache[index] = self._transform.decode(self._dataset.encoded(index))
        return self._cache[index]


class ShiftedImages:
    """Small images: shifted and mirrored after the transform."""

    def __init__(self, dataset: Dataset, config: TrainConfig) -> None:
        self._images = TransformedImages(dataset, config.transform)
        self._count, self._config = len(dataset), config

    def batch(self, epoch: int, indices: Indices) -> Pixels:
        """Return augmented images, uint8 (len(indices), H, W, 3)."""
        draws = uniform_draws((self._config.seed, epoch, SHIFT), self._count)
        images = self._images.batch(indices)
        return shift_and_flip(images, draws[indices], self._config.shift)


class CroppedImages:
    """Photographs: random resized crop, flip and colour jitter on each file's own pixels."""

    def __init__(self, dataset: Dataset, config: TrainConfig) -> None:
        self._dataset, self._config = dataset, config
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "augment")

    def batch(self, epoch: int, indices: Indices) -> Pixels:
        """Return augmented images, uint8 (len(indices), H, W, 3)."""
        return np.stack(list(self._pool.map(lambda index: self._one(epoch, int(index)), indices)))

    def _one(self, epoch: int, index: int) -> Pixels:
        rng = np.random.default_rng((self._config.seed, epoch, CROP, index))
        rgb = self._dataset.rgb(index)
        return random_resized_crop(rgb, self._config.image_size, self._config.color_jitter, rng)


class TrainingData:
    """Epochs of augmented, normalised batches; a last partial batch is left out."""

    def __init__(self, dataset: Dataset, config: TrainConfig) -> None:
        self._config = config
        self._count = min(len(dataset), config.train_images or len(dataset))
        self.steps_per_epoch = self._count // config.per_batch_size
        if not self.steps_per_epoch:
            raise DatasetError(
                f"{self._count} images do not fill one batch of {config.per_batch_size}"
            )
        self._labels = labels(dataset, self._count)
        shifted = config.augmentation == "shift"
        self._source: Source = (ShiftedImages if shifted else CroppedImages)(dataset, config)

    def epoch(self, epoch: int) -> Iterator[tuple[Images, Labels]]:
        """Yield the batches of an epoch (from 0): float32 (N, 3, H, W) and int32 (N,)."""
        order = np.random.default_rng((self._config.seed, epoch, ORDER)).permutation(self._count)
        size = self._config.per_batch_size
        for step in range(self.steps_per_epoch):
            indices = order[step * size : (step + 1) * size]
            pixels = self._source.batch(epoch, indices)
            yield normalize(pixels, self._config.normalization), self._labels[indices]


def labels(dataset: Dataset, count: int) -> Labels:
    """Return the classes of the first `count` images, int32 (count,)."""
    return np.array([dataset.label(index) for index in range(count)], np.int32)


def normalize(pixels: Pixels, normalization: Normalization) -> Images:
    """Return (pixels - mean) / std: uint8 (N, H, W, 3) -> float32 (N, 3, H, W)."""
    mean, std = np.array(normalization.mean, np.float32), np.array(normalization.std, np.float32)
    nhwc: NDArray[Any] = (pixels - mean) / std
    return np.ascontiguousarray(nhwc.transpose(0, 3, 1, 2))
