"""Where pixels come from: through the transform, and augmented for training."""

import logging
from collections.abc import Callable
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from images.transform import Transform
from training.data.augmentation import Pixels, random_resized_crop, shift_and_flip, uniform_draws
from training.data.datasets import Dataset, naming_broken
from training.data.workers import Indices, Workers
from training.errors import BrokenImageError, DatasetError
from training.settings.config import CommonConfig, TrainConfig

Mask = NDArray[np.bool_]

# Streams of random numbers, so that none of them repeats another.
SHIFT, CROP, ORDER = range(3)
CACHE_BYTES = 2**29

log = logging.getLogger(__name__)


class TrainingImages(Protocol):
    """Images that differ from epoch to epoch."""

    def batch(self, epoch: int, indices: Indices) -> tuple[Pixels, Indices]:
        """Return augmented images, uint8 (N, H, W, 3), and which of the dataset's they are.

        Those of `indices`; in place of a broken one the next that is readable, where
        `on_broken_image` is skip, else BrokenImageError.
        """


class TransformedImages:
    """A dataset through the transform; kept in memory where it is small."""

    def __init__(self, dataset: Dataset, transform: Transform, config: CommonConfig) -> None:
        self._dataset, self._transform = dataset, transform
        self._skip, self._workers = config.on_broken_image == "skip", Workers(config)
        self._cache: dict[int, Pixels] | None = None
        if len(dataset) * transform.crop.height * transform.crop.width * 3 <= CACHE_BYTES:
            self._cache = {}

    def batch(self, indices: Indices) -> tuple[Pixels, Mask]:
        """Return images exactly as serving sees them, uint8 (N, H, W, 3), and which are readable.

        A broken one is black where `on_broken_image` is skip; else BrokenImageError.
        """
        images = self._workers.map(self._one_or_none, indices)
        readable = np.array([image is not None for image in images])
        black = np.zeros((self._transform.crop.height, self._transform.crop.width, 3), np.uint8)
        return np.stack([black if image is None else image for image in images]), readable

    def one(self, index: int) -> Pixels:
        """Return an image as serving sees it, uint8 (H, W, 3); raise BrokenImageError."""
        if self._cache is None:
            return self._decode(index)
        if index not in self._cache:
            self._cache[index] = self._decode(index)
        return self._cache[index]

    def _one_or_none(self, index: int) -> Pixels | None:
        try:
            return self.one(index)
        except BrokenImageError as error:
            if not self._skip:
                raise
            log.warning(f"skipped: {error}")
            return None

    def _decode(self, index: int) -> Pixels:
        with naming_broken(self._dataset, index):
            return self._transform.decode(self._dataset.encoded(index))


class ShiftedImages:
    """Small images: shifted and mirrored after the transform."""

    def __init__(self, dataset: Dataset, config: TrainConfig) -> None:
        self._images = TransformedImages(dataset, config.transform, config)
        self._reader = Reader(len(dataset), config)
        self._count, self._config = len(dataset), config

    def batch(self, epoch: int, indices: Indices) -> tuple[Pixels, Indices]:
        """Return augmented images, uint8 (N, H, W, 3), and which ones they are."""
        draws = uniform_draws((self._config.seed, epoch, SHIFT), self._count)
        images, found = self._reader.batch(self._images.one, indices)
        return shift_and_flip(images, draws[found], self._config.shift), found


class CroppedImages:
    """Photographs: random resized crop, flip and colour jitter on each file's own pixels."""

    def __init__(self, dataset: Dataset, config: TrainConfig) -> None:
        self._dataset, self._config = dataset, config
        self._reader = Reader(len(dataset), config)

    def batch(self, epoch: int, indices: Indices) -> tuple[Pixels, Indices]:
        """Return augmented images, uint8 (N, H, W, 3), and which ones they are."""
        return self._reader.batch(lambda index: self._one(epoch, index), indices)

    def _one(self, epoch: int, index: int) -> Pixels:
        rng = np.random.default_rng((self._config.seed, epoch, CROP, index))
        rgb = self._dataset.rgb(index)
        return random_resized_crop(rgb, self._config.image_size, self._config.color_jitter, rng)


class Reader:
    """Reads training images in threads; what a broken one means, the settings say."""

    def __init__(self, count: int, config: TrainConfig) -> None:
        self._count = min(count, config.train_images or count)
        self._skip, self._workers = config.on_broken_image == "skip", Workers(config)

    def batch(self, read: Callable[[int], Pixels], indices: Indices) -> tuple[Pixels, Indices]:
        """Return uint8 (N, H, W, 3), and the indices of the images that were read."""
        found = self._workers.map(lambda index: self._readable(read, index), indices)
        return np.stack([image for image, _ in found]), np.array([index for _, index in found])

    def _readable(self, read: Callable[[int], Pixels], index: int) -> tuple[Pixels, int]:
        for candidate in chain(range(index, self._count), range(index)):
            try:
                return read(candidate), candidate
            except BrokenImageError as error:
                if not self._skip:
                    raise
                log.warning(f"skipped: {error}")
        raise DatasetError(f"none of the {self._count} training images is readable")


def training_images(dataset: Dataset, config: TrainConfig) -> TrainingImages:
    """Return the images augmented as configured."""
    if config.augmentation == "shift":
        return ShiftedImages(dataset, config)
    return CroppedImages(dataset, config)
