"""Where pixels come from: through the transform, and augmented for training."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from export.contract.decoders import ImageError
from export.contract.transform import Transform
from training.augmentation import Pixels, random_resized_crop, shift_and_flip, uniform_draws
from training.config import TrainConfig
from training.datasets import Dataset
from training.errors import DatasetError

Indices = NDArray[np.intp]

# Streams of random numbers, so that none of them repeats another.
SHIFT, CROP, ORDER = range(3)
CACHE_BYTES = 2**29


class TrainingImages(Protocol):
    """Images that differ from epoch to epoch."""

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
            return self._decode(index)
        if index not in self._cache:
            self._cache[index] = self._decode(index)
        return self._cache[index]

    def _decode(self, index: int) -> Pixels:
        try:
            return self._transform.decode(self._dataset.encoded(index))
        except ImageError as error:
            raise DatasetError(f"image {index} of the dataset: {error}") from error


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


def training_images(dataset: Dataset, config: TrainConfig) -> TrainingImages:
    """Return the images augmented as configured."""
    if config.augmentation == "shift":
        return ShiftedImages(dataset, config)
    return CroppedImages(dataset, config)
