"""From datasets to normalised batches: through the transform, augmented for training."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Normalization
from images.transform import Pixels, Size, Stretch, Transform
from training.data.augmenter import Augmenter, Images, Labels, Targets
from training.data.class_weights import class_weights
from training.data.dataset import Dataset, StoredImage
from training.data.datasets import beside, log_contents, open_dataset
from training.data.prefetch import Indices
from training.data.worker import Work
from training.data.workers import Workers
from training.errors import BrokenImageError, DatasetError
from training.settings.config import CommonConfig
from training.settings.train_config import TrainConfig

Mask = NDArray[np.bool_]


logger = logging.getLogger(__name__)


def open_training_set(config: TrainConfig) -> Dataset:
    """Return the training images; raise DatasetError if `num_classes` says another number."""
    dataset = open_dataset(config.data_dir, "train")
    log_contents(dataset)
    found = len(dataset.class_names)
    if config.num_classes not in (None, found):
        raise DatasetError(
            f"num_classes={config.num_classes}, but {config.data_dir} has {found} classes; "
            f"say --num-classes {found}, or leave it out"
        )
    if found == 1 and config.smoothing:
        raise DatasetError(
            f"{dataset.source} has one class, and label_smooth_factor={config.label_smooth_factor} "
            "is spread over the others; say --label-smooth 0"
        )
    return dataset


def open_test_set(config: TrainConfig, training_set: Dataset) -> Dataset:
    """Return the test images.

    Raises DatasetError if they are the training images, or have other classes.
    """
    data_dir = config.eval_data_dir or beside(config.data_dir)
    dataset = open_dataset(data_dir, "test")
    log_contents(dataset)
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
    logger.info("the test images have the classes of the training images")
    return dataset


@dataclass(frozen=True)
class Transformed:
    """The work of evaluation, and of small images before they are shifted: the transform."""

    transform: Transform

    def __call__(self, image: StoredImage, _index: int) -> Pixels:
        """Return what serving makes of an image, uint8 (H, W, 3)."""
        return self.transform.decode(image.encoded())


@dataclass(frozen=True)
class Photographs:
    """The work of training on photographs: augmented as they are in their files."""

    augmenter: Augmenter
    epoch: int

    def __call__(self, image: StoredImage, index: int) -> Pixels:
        """Return what becomes of an image in this epoch, uint8 (H, W, 3)."""
        return self.augmenter.photograph(image.rgb(), self.epoch, index)


class EvaluationImages:
    """Batches of a dataset's images, exactly as serving sees them."""

    def __init__(
        self, dataset: Dataset, transform: Transform, batch_size: int, config: CommonConfig
    ) -> None:
        size = transform.crop.height, transform.crop.width
        self._work = Transformed(transform)
        self._workers = Workers(dataset, size, batch_size, config, keep=True)
        self._skip = config.on_broken_image == "skip"

    def batches(self, batches: Iterable[Indices]) -> Iterator[tuple[Indices, Pixels, Mask]]:
        """Yield each batch's indices, uint8 (N, H, W, 3), and which images could be read.

        One that could not is black if `on_broken_image` is skip; else BrokenImageError is raised.
        """
        for indices, pixels, broken in self._workers.batches(self._work, batches):
            readable = np.ones(len(indices), np.bool_)
            for row in broken:
                readable[row] = self._read_again(int(indices[row]), pixels[row])
            yield indices, pixels, readable

    def _read_again(self, index: int, target: Pixels) -> bool:
        target[:] = 0
        try:
            target[:] = self._workers.one(self._work, index)
        except BrokenImageError as error:
            if not self._skip:
                raise
            logger.warning("skipped: %s", error)
            return False
        return True


class TrainingData:
    """This process's share of each epoch's augmented, normalised batches of `count` images.

    A step takes `images_per_step` images for each process of the group; images left at the end of
    an epoch that do not fill a step are dropped.

    Attributes:
        class_weights: factors of the classes in the loss, float32 (K,); None if all are equal.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig) -> None:
        self._dataset, self._config, self._labels = dataset, config, labels(dataset)
        self._chosen = share_of_each_class(self._labels, config.train_images)
        self.count = len(self._chosen)
        self.steps_per_epoch = self.count // (config.images_per_step * config.group_size)
        if not self.steps_per_epoch:
            batch = f"{config.images_per_step} images in each of {config.group_size} processes"
            raise DatasetError(f"{self.count} images do not fill one batch of {batch}")
        self._augmenter = Augmenter(config, len(dataset), len(dataset.class_names))
        self.class_weights = class_weights(config, self._labels[self._chosen], dataset.class_names)
        self._shifts = config.augmentation == "shift"
        self._workers = Workers(
            dataset, config.image_size, config.images_per_step, config, keep=self._shifts
        )

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Images, Targets]]:
        """Yield an epoch's batches from a step on, both from 0: float32 (N, 3, H, W), int32 (N,).

        Mixed images come with float32 (N, K), the share of each class in each of them. Earlier
        steps are not decoded. H and W are those of the epoch. In place of a broken image stands the
        next one that can be read if `on_broken_image` is skip; else BrokenImageError is raised.
        """
        size = self._config.image_size_in(epoch)
        reduces = size != self._config.image_size
        if reduces:
            logger.info("epoch %d: reduces training images to %d x %d pixels", epoch + 1, *size)
        transformed = Transformed(self._config.transform)
        work: Work = transformed if self._shifts else Photographs(self._augmenter, epoch)
        for indices, pixels, broken in self._workers.batches(work, self._order(epoch, first_step)):
            found = indices.copy()
            for row in broken:
                pixels[row], found[row] = self._stand_in(work, int(indices[row]))
            if reduces:
                pixels = reduced(pixels, *size)
            if self._shifts:
                pixels = self._augmenter.shifted(pixels, epoch, found)
            images = normalize(pixels, self._config.normalization)
            yield self._augmenter.batch(images, self._labels[found], epoch, found)

    def _order(self, epoch: int, first_step: int) -> Iterator[Indices]:
        """Yield the indices of this process's batches: a permutation of all images, in shares."""
        order = self._chosen[self._augmenter.order(epoch, self.count)]
        size, group = self._config.images_per_step, self._config.group_size
        for step in range(first_step, self.steps_per_epoch):
            batch = step * group + self._config.rank
            yield order[batch * size : (batch + 1) * size]

    def _stand_in(self, work: Work, index: int) -> tuple[Pixels, int]:
        """Return an image, or the next one that can be read, and its index."""
        place = int(np.searchsorted(self._chosen, index))
        for candidate in map(int, chain(self._chosen[place:], self._chosen[:place])):
            try:
                return self._workers.one(work, candidate), candidate
            except BrokenImageError as error:
                if self._config.on_broken_image != "skip":
                    raise
                logger.warning("skipped: %s", error)
        raise DatasetError(f"none of the {self.count} training images is readable")


def labels(dataset: Dataset) -> Labels:
    """Return the class of each image, int32 (N,)."""
    return np.array([dataset.label(index) for index in range(len(dataset))], np.int32)


def share_of_each_class(classes: Labels, count: int | None) -> Indices:
    """Return the indices, ascending, of `count` images, the same share of each class; None: all.

    The first images of a class are taken, and the shares are rounded by the largest remainders.
    """
    if count is None or count >= len(classes):
        return np.arange(len(classes))
    sizes = np.bincount(classes)
    shares = sizes * count / len(classes)
    taken = np.floor(shares).astype(int)
    short = np.argsort(taken - shares, kind="stable")[: count - taken.sum()]
    taken[short] += 1
    members = (np.flatnonzero(classes == number)[:n] for number, n in enumerate(taken))
    return np.sort(np.concatenate([*members]))


def reduced(images: Pixels, height: int, width: int) -> Pixels:
    """Return smaller images, with antialias: uint8 (N, H, W, 3) -> uint8 (N, height, width, 3)."""
    size = {"height": height, "width": width}
    transform = Transform(resize=Stretch(**size), crop=Size(**size))
    return np.stack([transform.from_rgb(image) for image in images])


def normalize(pixels: Pixels, normalization: Normalization) -> Images:
    """Return (pixels - mean) / std: uint8 (N, H, W, 3) -> float32 (N, 3, H, W)."""
    mean = np.array(normalization.mean, np.float32)[:, None, None]
    std = np.array(normalization.std, np.float32)[:, None, None]
    images: Images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) - mean
    images /= std
    return images
