"""Random numbers belong to (seed, epoch, image), and those of one purpose to no other."""

import numpy as np
import pytest

from training.data.augmenter import Augmenter
from training.settings.train_config import TrainConfig

COUNT = 20
CHANCE = np.random.default_rng(1)
IMAGES = CHANCE.integers(0, 256, (COUNT, 12, 12, 3)).astype(np.uint8)
LABELS = np.arange(COUNT, dtype=np.int32) % 10
KINDS: dict[str, object] = {
    "shift": 3,
    "hflip": 0.5,
    "randaugment": (2, 9),
    "random_erasing": 0.5,
    "mixup": 0.8,
    "cutmix": 1.0,
}
OFF: dict[str, object] = {"augmentation": "shift", "shift": 0, "hflip": 0.0}


def augmented(settings: dict[str, object], epoch: int, indices: np.ndarray) -> np.ndarray:
    augmenter = Augmenter(TrainConfig.model_validate(settings), COUNT, 10)
    pixels = augmenter.shifted(IMAGES[indices], epoch, indices)
    images = pixels.transpose(0, 3, 1, 2).astype(np.float32)
    return augmenter.batch(images, LABELS[indices], epoch, indices)[0]


@pytest.mark.parametrize("name", KINDS)
def test_each_differs_by_epoch_and_seed_and_by_nothing_else(name: str) -> None:
    settings, every = OFF | {name: KINDS[name]}, np.arange(COUNT)
    images = augmented(settings, 3, every)
    assert (images != augmented(OFF, 3, every)).any()
    assert (images != augmented(settings, 4, every)).any()
    assert (images != augmented(settings | {"seed": 2}, 3, every)).any()
    np.testing.assert_array_equal(augmented(settings, 3, every[8:14]), images[8:14])


def test_photographs_have_numbers_of_their_own_for_crop_and_operations() -> None:
    config = TrainConfig(image_size=(12, 12), randaugment=(2, 9))
    plain = config.model_copy(update={"randaugment": None})
    ours, bare = (Augmenter(one, COUNT, 10) for one in (config, plain))
    found = [ours.photograph(IMAGES[0], epoch, 5) for epoch in range(100)]
    same = [bare.photograph(IMAGES[0], epoch, 5) for epoch in range(100)]
    # A quarter of the images gets no operation: these are cropped as they were without any.
    untouched = [(a == b).all() for a, b in zip(found, same, strict=True)]
    assert sum(untouched) == pytest.approx(25, abs=13)
    np.testing.assert_array_equal(ours.photograph(IMAGES[0], 3, 5), found[3])
    assert (ours.photograph(IMAGES[0], 3, 6) != found[3]).any()
