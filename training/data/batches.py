"""From datasets to normalised batches: through the transform, augmented for training."""

import logging
from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Normalization
from images.transform import Pixels, Transform
from training.data.augmentation import random_resized_crop, shift_and_flip, uniform_draws
from training.data.datasets import Dataset, beside, naming_broken, open_dataset
from training.data.prefetch import Indices, Workers
from training.errors import BrokenImageError, DatasetError
from training.settings.config import CommonConfig
from training.settings.train_config import TrainConfig

Images = NDArray[np.float32]
Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]

# Streams of random numbers, so that none of them repeats another.
SHIFT, CROP, ORDER = range(3)
CACHE_BYTES = 2**29

logger = logging.getLogger(__name__)


def open_training_set(config: TrainConfig) -> Dataset:
    """Return the training images; raise DatasetError unless they have num_classes classes."""
    dataset = open_dataset(config.data_dir, "train")
    found = len(dataset.class_names)
    if found != config.num_classes:
        raise DatasetError(
            f"num_classes={config.num_classes}, but {config.data_dir} has {found} classes; "
            f"say --num-classes {found}"
        )
    return dataset


def open_test_set(config: TrainConfig, training_set: Dataset) -> Dataset:
    """Return the test images.

    Raises DatasetError if they are the training images, or have other classes.
    """
    data_dir = config.eval_data_dir or beside(config.data_dir)
    dataset = open_dataset(data_dir, "test")
    logger.info("tested on %d images of %s", len(dataset), dataset.source)
    if dataset.source == training_set.source:
        raise DatasetError(
            f"the test images would be the training images, all of {dataset.source}; name "
            f"others with --eval-data-dir, or train without evaluation: --run-eval 0"
        )
    if dataset.class_names != training_set.class_names:
        raise DatasetError(
            f"the test images in {data_dir} have the classes {', '.join(dataset.class_names)}, "
            f"the training images {', '.join(training_set.class_names)}"
        )
    return dataset


class TransformedImages:
    """A dataset through the transform, as serving sees it; kept in memory if it is small."""

    def __init__(self, dataset: Dataset, transform: Transform) -> None:
        self._dataset, self._transform = dataset, transform
        self._cache: dict[int, Pixels] | None = None
        if len(dataset) * transform.crop.height * transform.crop.width * 3 <= CACHE_BYTES:
            self._cache = {}

    def __getitem__(self, index: int) -> Pixels:
        """Return an image, uint8 (H, W, 3); raise BrokenImageError if it cannot be read."""
        if self._cache is None:
            return self._decode(index)
        if index not in self._cache:
            self._cache[index] = self._decode(index)
        return self._cache[index]

    def _decode(self, index: int) -> Pixels:
        with naming_broken(self._dataset, index):
            return self._transform.decode(self._dataset.encoded(index))


class EvaluationImages:
    """Batches of a dataset's images, exactly as serving sees them."""

    def __init__(self, dataset: Dataset, transform: Transform, config: CommonConfig) -> None:
        self._images = TransformedImages(dataset, transform)
        self._workers = Workers(config.num_workers)
        self._black = np.zeros((transform.crop.height, transform.crop.width, 3), np.uint8)
        self._skip = config.on_broken_image == "skip"

    def batch(self, indices: Indices) -> tuple[Pixels, Mask]:
        """Return uint8 (N, H, W, 3), and which images could be read.

        One that could not is black if `on_broken_image` is skip; else BrokenImageError is raised.
        """
        images = self._workers.map(self._one_or_none, indices)
        readable = np.array([image is not None for image in images])
        return np.stack([self._black if image is None else image for image in images]), readable

    def _one_or_none(self, index: int) -> Pixels | None:
        try:
            return self._images[index]
        except BrokenImageError as error:
            if not self._skip:
                raise
            logger.warning("skipped: %s", error)
            return None


class TrainingData:
    """This process's share of each epoch's augmented, normalised batches of `count` images.

    A step takes `per_batch_size` images for each process of the group; images left at the end of
    an epoch that do not fill a step are dropped.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig) -> None:
        self._dataset, self._config, self._workers = dataset, config, Workers(config.num_workers)
        self._transformed = TransformedImages(dataset, config.transform)
        self.count = min(len(dataset), config.train_images or len(dataset))
        self.steps_per_epoch = self.count // (config.per_batch_size * config.group_size)
        if not self.steps_per_epoch:
            batch = f"{config.per_batch_size} images in each of {config.group_size} processes"
            raise DatasetError(f"{self.count} images do not fill one batch of {batch}")
        self._labels = labels(dataset, self.count)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Images, Labels]]:
        """Yield an epoch's batches from a step on, both from 0: float32 (N, 3, H, W), int32 (N,).

        Earlier steps are not decoded. In place of a broken image stands the next one that can be
        read if `on_broken_image` is skip; else BrokenImageError is raised.
        """
        order = np.random.default_rng((self._config.seed, epoch, ORDER)).permutation(self.count)
        size, group = self._config.per_batch_size, self._config.group_size
        augmented = self._shifted if self._config.augmentation == "shift" else self._cropped
        for step in range(first_step, self.steps_per_epoch):
            batch = step * group + self._config.rank
            pixels, found = augmented(epoch, order[batch * size : (batch + 1) * size])
            yield normalize(pixels, self._config.normalization), self._labels[found]

    def _shifted(self, epoch: int, indices: Indices) -> tuple[Pixels, Indices]:
        """Small images: shifted and mirrored after the transform."""
        draws = uniform_draws((self._config.seed, epoch, SHIFT), len(self._dataset))
        images, found = self._read(self._transformed.__getitem__, indices)
        return shift_and_flip(images, draws[found], self._config.shift), found

    def _cropped(self, epoch: int, indices: Indices) -> tuple[Pixels, Indices]:
        """Photographs: random resized crop, flip and colour jitter on each file's own pixels."""

        def one(index: int) -> Pixels:
            rng = np.random.default_rng((self._config.seed, epoch, CROP, index))
            rgb = self._dataset.rgb(index)
            return random_resized_crop(rgb, self._config.image_size, self._config.color_jitter, rng)

        return self._read(one, indices)

    def _read(self, read: Callable[[int], Pixels], indices: Indices) -> tuple[Pixels, Indices]:
        """Return uint8 (N, H, W, 3), and the indices of the images that were read."""
        found = self._workers.map(lambda index: self._readable(read, index), indices)
        return np.stack([image for image, _ in found]), np.array([index for _, index in found])

    def _readable(self, read: Callable[[int], Pixels], index: int) -> tuple[Pixels, int]:
        for candidate in chain(range(index, self.count), range(index)):
            try:
                return read(candidate), candidate
            except BrokenImageError as error:
                if self._config.on_broken_image != "skip":
                    raise
                logger.warning("skipped: %s", error)
        raise DatasetError(f"none of the {self.count} training images is readable")


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
