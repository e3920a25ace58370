"""What the settings do to training images; each image's random numbers are its own.

They are drawn from (seed, epoch, image index) for each purpose, so that they depend neither on the
batch size, nor on the number of processes, nor on where a run was resumed.
"""

import numpy as np
from numpy.typing import NDArray

from images.decoders import Pixels
from training.data import mixing
from training.data.augmentation import random_resized_crop, shift_and_flip, uniform_draws
from training.data.erasing import erase
from training.data.prefetch import Indices
from training.data.randaugment import RandAugment
from training.settings.train_config import TrainConfig

Images = NDArray[np.float32]
Labels = NDArray[np.int32]
# Classes (N,), or of mixed images the share of each class in each image, (N, K).
Targets = Labels | NDArray[np.float32]

# Streams of random numbers, so that none of them repeats another.
SHIFT, CROP, ORDER, RANDAUGMENT, ERASING, MIXING = range(6)


class Augmenter:
    """Augments a dataset's images as the settings say: so many `images`, of so many `classes`."""

    def __init__(self, config: TrainConfig, images: int, classes: int) -> None:
        self._config, self._count, self._classes = config, images, classes
        self._randaugment = RandAugment.of(config)

    def order(self, epoch: int, count: int) -> Indices:
        """Return the order in which `count` images come in an epoch, 0 to count - 1."""
        return np.random.default_rng((self._config.seed, epoch, ORDER)).permutation(count)

    def photograph(self, rgb: Pixels, epoch: int, index: int) -> Pixels:
        """Return a random crop of a file's own pixels: uint8 (h, w, 3) -> uint8 (H, W, 3)."""
        crop = random_resized_crop(rgb, self._config, self._generator(epoch, CROP, index))
        return self._operated(crop, epoch, index)

    def shifted(self, images: Pixels, epoch: int, indices: Indices) -> Pixels:
        """Return small images, moved by some pixels: uint8 (N, H, W, 3) -> the same."""
        draws = uniform_draws((self._config.seed, epoch, SHIFT), self._count)[indices]
        moved = shift_and_flip(images, draws, self._config.shift_in(epoch), self._config.hflip)
        if self._randaugment is None:
            return moved
        pairs = zip(moved, map(int, indices), strict=True)
        return np.stack([self._operated(image, epoch, index) for image, index in pairs])

    def batch(
        self, images: Images, labels: Labels, epoch: int, indices: Indices
    ) -> tuple[Images, Targets]:
        """Erase and mix normalised images, float32 (N, 3, H, W), and return what they then are."""
        if self._config.random_erasing:
            for image, index in zip(images, map(int, indices), strict=True):
                erase(image, self._config.random_erasing, self._generator(epoch, ERASING, index))
        if not self._config.mixes:
            return images, labels
        height, width = images.shape[2:]
        mixtures = [self._mixture((height, width), epoch, int(index)) for index in indices]
        return mixing.mix(images, labels, self._classes, mixtures)

    def _operated(self, pixels: Pixels, epoch: int, index: int) -> Pixels:
        if self._randaugment is None:
            return pixels
        return self._randaugment(pixels, self._generator(epoch, RANDAUGMENT, index))

    def _mixture(self, size: tuple[int, int], epoch: int, index: int) -> mixing.Mixture:
        if self._config.mixup_off_epoch and epoch >= self._config.mixup_off_epoch:
            return mixing.Mixture(1.0)
        return mixing.draw(self._config, size, self._generator(epoch, MIXING, index))

    def _generator(self, epoch: int, stream: int, index: int) -> np.random.Generator:
        return np.random.default_rng((self._config.seed, epoch, stream, index))
